"""Files that are whole or not there, JSON lines, and locks that die with their process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.files import read_json_lines, replace_file, take_lock, write_file


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    write_file(path, "old", durably=True)

    def fail(aside: Path) -> None:
        aside.write_text("half")
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        replace_file(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_aside_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".kept.part").write_text("left by a killed process")
    write_file(tmp_path / "kept", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]


def test_a_lock_is_another_process_s_until_it_dies(tmp_path: Path) -> None:
    hold = (
        "import sys, time; from fedvoice.protocol.files import take_lock\n"
        "file = open(sys.argv[1], 'w'); assert take_lock(file); print('held', flush=True)\n"
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", hold, str(tmp_path / "lock")]
    with (tmp_path / "lock").open("w") as file:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            assert not take_lock(file)
            holder.kill()
        assert take_lock(file)


def test_json_lines_know_their_places() -> None:
    text = '{"a": 1}\r\n\n{"a": "2\u2028"}\n'
    assert list(read_json_lines(text, "x.jsonl")) == [
        ("x.jsonl:1", {"a": 1}),
        ("x.jsonl:3", {"a": "2\u2028"}),
    ]


@pytest.mark.parametrize("line", ["[1]", "{", json.dumps("text")])
def test_a_line_that_is_no_object_is_named(line: str) -> None:
    with pytest.raises(FedvoiceError) as caught:
        list(read_json_lines('{"a": 1}\n' + line, "x.jsonl"))
    assert caught.value.code is ErrorCode.BAD_MANIFEST
    assert caught.value.where == "x.jsonl:2"
