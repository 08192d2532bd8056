"""docs/errors.md explains every code, and names only tests that exist."""

import re
from pathlib import Path

from fedvoice.protocol.errors import ErrorCode
from fedvoice.protocol.generated import fedvoice_pb2 as pb

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
}


def test_every_code_has_a_line_and_no_line_is_left_over():
    codes = re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.MULTILINE)
    assert sorted(codes) == sorted(c.value for c in ErrorCode)


def test_every_verdict_is_explained_to_those_who_write_clients():
    protocol_page = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    for name in pb.Verdict.DESCRIPTOR.values_by_name:
        if name != "VERDICT_UNSPECIFIED":
            assert f"`{name.removeprefix('VERDICT_')}`" in protocol_page


def test_the_tests_it_names_exist():
    for path in re.findall(r"`(tests/[\w/]+\.py)`", PAGE):
        assert (ROOT / path).is_file(), path
    for name in re.findall(r"`(test_\w+?)(?:_?\.\.\.)?`", PAGE):
        assert any(test.startswith(name) for test in TESTS), name
