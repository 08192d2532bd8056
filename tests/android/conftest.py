"""What the tests of the Kotlin phone share: made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedvoice.protocol.task import TaskPackage
from tests.android.support import record
from tests.android.tasks import tiny_config
from tests.shared import exported


@pytest.fixture(scope="session")
def task(tmp_path_factory: pytest.TempPathFactory) -> TaskPackage:
    """The tiny task, exported."""
    return exported(tiny_config(), tmp_path_factory).package


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Speech of one person."""
    return record(tmp_path_factory.mktemp("speech") / "anna")
