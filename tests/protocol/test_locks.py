"""Who works in a folder keeps it, and says so by name."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.locks import FOLDER_LOCK, claimed, holder_of, try_lock

_HOLD = """
import sys, time
from pathlib import Path
from fedvoice.protocol.locks import claimed
sys.argv[0] = "fedvoice"
with claimed(Path(sys.argv[2])):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def another_command(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """`fedvoice tune` at work in a folder."""
    command = [sys.executable, "-c", _HOLD, "tune", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder
        holder.kill()


def test_a_folder_is_one_commands_until_it_ends_and_the_other_is_told_whose(
    tmp_path: Path,
) -> None:
    with another_command(tmp_path / "out") as holder:
        with pytest.raises(FedvoiceError) as caught, claimed(tmp_path / "out"):
            pytest.fail("held by two")
        assert caught.value.code is ErrorCode.EXISTS
        assert caught.value.where == str(tmp_path / "out")
        assert f"process {holder.pid} on " in caught.value.got
        assert "fedvoice tune, since " in caught.value.got
        holder.kill()  # its lock ends with it
        holder.wait()
        with claimed(tmp_path / "out"):
            assert (tmp_path / "out" / FOLDER_LOCK).is_file()
    assert list((tmp_path / "out").iterdir()) == []


def test_a_lock_that_is_removed_at_its_end_is_never_held_by_two(tmp_path: Path) -> None:
    held, most, tries = 0, 0, 0
    counting = threading.Lock()

    def work() -> None:
        nonlocal held, most, tries
        for _ in range(200):
            try:
                with claimed(tmp_path):
                    with counting:
                        held += 1
                        most = max(most, held)
                        tries += 1
                    with counting:
                        held -= 1
            except FedvoiceError:
                continue

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tries > 0
    assert most == 1


def test_a_commands_folder_is_free_when_the_command_has_ended(tmp_path: Path) -> None:
    app = typer.Typer()

    @app.command()
    def write(context: typer.Context, out: Path) -> None:
        context.with_resource(claimed(out))
        assert holder_of(out / FOLDER_LOCK).startswith("process ")
        assert try_lock(out / FOLDER_LOCK) is None

    for _ in range(2):
        assert CliRunner().invoke(app, [str(tmp_path / "out")]).exit_code == 0
    assert list((tmp_path / "out").iterdir()) == []
