"""The promises under faults: real processes, real sockets, TLS, and SIGKILL.

A scene (`scene.py`) is a server, phones with a bad line each, and what came of them. Kinds of
phones are command lines (`PHONE_KINDS`), so that every test that asks for `phone_kind` holds for
each of them. `killed.py` lets a process kill itself at a chosen point; `tiny.py` is the task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedvoice.protocol.task import TaskPackage
from tests.faults.scene import PHONE_KINDS, PhoneKind, Scene
from tests.shared import once


@pytest.fixture(params=list(PHONE_KINDS), scope="session")
def phone_kind(request: pytest.FixtureRequest) -> PhoneKind:
    """Each kind of phone in turn, those that run here."""
    kind = PHONE_KINDS[request.param]
    if lacking := kind.lacking():
        pytest.skip(f"the {kind.name} phone does not run here: {'; '.join(lacking)}")
    return kind


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory, phone_kind: PhoneKind) -> TaskPackage:
    """What that kind of phone trains."""
    return phone_kind.package(tmp_path_factory)


@pytest.fixture
def make_scene(
    tmp_path: Path, phone_kind: PhoneKind, package: TaskPackage
) -> Iterator[Callable[..., Scene]]:
    """Scenes that are ended with the test."""
    scenes: list[Scene] = []

    def make(**fields: object) -> Scene:
        directory = tmp_path / f"scene-{len(scenes)}"
        scenes.append(Scene(directory, phone_kind, package, **fields))  # type: ignore[arg-type]
        return scenes[-1]

    yield make
    for scene in scenes:
        scene.close()


@pytest.fixture(scope="session")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, phone_kind: PhoneKind, package: TaskPackage
) -> bytes:
    """The model of a run to which nothing happens."""

    def run(path: Path) -> None:
        scene = Scene(tmp_path_factory.mktemp("undisturbed"), phone_kind, package)
        try:
            scene.start_phones()
            model = scene.finish()
            scene.check_counted_once()
        finally:
            scene.close()
        path.write_bytes(model)

    return once(tmp_path_factory, f"undisturbed-{phone_kind.name}", run).read_bytes()
