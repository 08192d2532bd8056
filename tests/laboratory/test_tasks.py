"""Tasks in the folder that trials share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from fedvoice.simulation.tasks import TrainingTask, exported_task
from tests.laboratory.tiny import export_config, tiny_task


def test_two_experiments_that_export_one_task_do_not_disturb_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Path] = []

    def export_task(export: object, directory: Path, *, progress: Callable[[str], None]) -> None:
        begun.append(directory)
        directory.mkdir(parents=True)
        if len(begun) == 1:  # the other one begins now, and is done first
            exported_task(export_config("rnnt"), tmp_path, progress)
        (directory / "whole").write_text(str(len(begun)))

    monkeypatch.setattr("fedvoice.model_export.package.export_task", export_task)
    manifest = tiny_task().manifest
    monkeypatch.setattr(
        "fedvoice.simulation.tasks.load_package",
        lambda directory: SimpleNamespace(manifest=manifest),
    )
    task = exported_task(export_config("rnnt"), tmp_path, lambda said: None)
    assert len(begun) == 2
    assert task.package_dir is not None
    assert (task.package_dir / "whole").is_file()
    assert list(tmp_path.iterdir()) == [task.package_dir], "drafts are gone"


def test_a_package_of_which_a_part_was_written_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = TrainingTask(export_config("rnnt"), tiny_task().manifest, tmp_path / "exported")

    def killed(*anything: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fedvoice.simulation.tasks.write_package", killed)
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "program.pte").write_bytes(b"")
    with pytest.raises(KeyboardInterrupt):
        task.write_seeded(tmp_path / "task", 1)
    assert not (tmp_path / "task").exists()
