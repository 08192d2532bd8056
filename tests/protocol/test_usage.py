"""Law 11: what is left out is counted, with its reason and its first file."""

from __future__ import annotations

from fedvoice.protocol.usage import Reason, Usage, total


def left(*pairs: tuple[str, str], used: int = 0) -> Usage:
    usage = Usage(used)
    for reason, where in pairs:
        usage.leave_out(reason, where)
    return usage


def test_the_line_says_how_many_why_and_the_first_file():
    usage = left((Reason.TOO_SHORT, "a.wav"), (Reason.TOO_SHORT, "b.wav"), used=24)
    assert usage.describe() == "24 utterances used; left out: 2 too-short (first: a.wav)"
    assert Usage(1).describe() == "1 utterance used, none left out"


def test_parts_add_up_and_keep_the_first_of_each_reason():
    whole = total([left(("silent", "a"), used=3), left(("silent", "b"), ("duplicate", "c"))])
    assert (whole.used, whole.skipped) == (3, 3)
    assert whole.as_dict() == {
        "used": 3,
        "left_out": {"silent": 2, "duplicate": 1},
        "first_left_out": {"silent": "a", "duplicate": "c"},
    }
    assert Usage.from_dict(whole.as_dict()) == whole


def test_what_was_left_out_on_request_does_not_make_a_corpus_unusable():
    usage = left((Reason.NOT_CHOSEN, "a"), (Reason.TOO_LONG, "b"), used=9)
    assert usage.share == 0.9
    assert Usage().share == 1.0
