"""`fedvoice data check`: what a newcomer's manifest holds, and what of it is used."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from fedvoice.data.buckets import fit_buckets
from fedvoice.data.check import check_durations, check_manifest
from fedvoice.data.check_table import histogram
from fedvoice.data.cli import data
from fedvoice.data.fit import targets_or_reason
from fedvoice.data.spelling import rare_characters, spelled_differently
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.task import FeatureSettings
from fedvoice.protocol.usage import Reason
from fedvoice.protocol.utterances import Utterance
from fedvoice.protocol.vocabulary import Vocabulary
from tests.device_runtime.tiny import tiny_manifest

RATE = 16000


def sound(path: Path, secs: float = 0.5, *, seed: int = 0, rate: int = RATE, **how: object) -> None:
    samples = np.random.default_rng(seed).uniform(-0.3, 0.3, int(secs * rate))
    soundfile.write(path, samples, rate, **how)


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[..., Path]:
    """Writes a manifest of utterances that differ from good ones in the given fields."""

    def write(*changes: dict[str, object]) -> Path:
        rows = []
        for i, change in enumerate(changes):
            audio = tmp_path / f"{i}.wav"
            if not audio.exists():
                sound(audio, 0.5 + i / 100, seed=i)
            split = "test" if i == len(changes) - 1 else "train"
            good = {"audio_filepath": f"{i}.wav", "text": "yes no", "duration": 0.5 + i / 100}
            rows.append(json.dumps({**good, "speaker": "a", "split": split, **change}))
        manifest = tmp_path / "manifest.jsonl"
        manifest.write_text("\n".join(rows) + "\n", encoding="utf-8")
        return manifest

    return write


def test_a_clean_manifest(corpus: Callable[..., Path]) -> None:
    done = CliRunner().invoke(data, ["check", str(corpus({}, {}, {}, {}, {})), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["utterances"], found["used"], found["left_out"]) == (5, 5, {})
    assert (found["seconds"], found["speakers"], found["warnings"]) == (2.6, 1, [])


@pytest.mark.parametrize(
    ("change", "left_out", "code"),
    [
        ({"audio_filepath": "gone.wav"}, "missing-audio", 1),
        ({"audio_filepath": "text.wav"}, "unreadable-audio", 1),
        ({"audio_filepath": "nan.wav"}, "not-finite", 1),
        ({"audio_filepath": "integers.wav"}, "unreadable-audio", 1),
        ({"audio_filepath": "empty.wav", "duration": 0}, "too-short", 1),
        ({"text": " "}, "empty-transcript", 1),
        ({"duration": 500}, "with a duration that is not the file's", 2),
        ({"duration": 0.01}, "with a duration that is not the file's", 2),
        ({"offset": 0.3, "duration": 0.9}, "with a duration that is not the file's", 2),
        ({"duration": -1}, "that cannot be read", 2),
        ({"text": None}, "that cannot be read", 2),
        ({"split": "holdout"}, "that cannot be read", 2),
    ],
)
def test_what_is_left_out_and_what_is_refused(
    corpus: Callable[..., Path],
    tmp_path: Path,
    change: dict[str, object],
    left_out: str,
    code: int,
) -> None:
    (tmp_path / "text.wav").write_text("no sound at all")
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 8000)
    soundfile.write(tmp_path / "nan.wav", np.where(noise > 0, noise, np.nan), RATE, "FLOAT")
    soundfile.write(tmp_path / "integers.wav", noise * 32768, RATE, "FLOAT")
    soundfile.write(tmp_path / "empty.wav", noise[:0], RATE)
    report = check_manifest(corpus({}, change, {}))
    counts = report.usage.left_out if code == 1 else report.faults
    assert {what: part.count for what, part in counts.items()} == {left_out: 1}
    assert "manifest.jsonl:2" in counts[left_out].first
    assert report.exit_code == code
    assert (report.utterances, report.usage.used) == (3, 2)


def test_lines_after_a_broken_one_are_not_claimed(corpus: Callable[..., Path]) -> None:
    manifest = corpus({}, {}, {})
    manifest.write_text("{broken\n" + manifest.read_text())
    report = check_manifest(manifest)
    assert report.exit_code == 2
    assert "that cannot be read, nor what follows" in report.faults


def test_warnings_say_what_a_person_should_know(
    corpus: Callable[..., Path], tmp_path: Path
) -> None:
    sound(tmp_path / "0.wav", 0.5, rate=8000)
    both = np.random.default_rng(1).uniform(-0.3, 0.3, (8160, 2))
    soundfile.write(tmp_path / "1.wav", both, RATE)
    soundfile.write(tmp_path / "2.wav", np.full(8320, 0.0005), RATE)
    soundfile.write(tmp_path / "3.wav", np.sign(both[:, 0].repeat(2))[:8480], RATE)
    (tmp_path / "4.wav").write_bytes((tmp_path / "3.wav").read_bytes())
    changes = [{"text": "café"}, {"text": "cafe"}, {}, {"duration": 0.53}, {"duration": 0.53}]
    manifest = corpus(*changes, {"audio_filepath": "3.wav", "duration": 0.53, "text": "maybe"})
    warnings = check_manifest(manifest).warnings
    for said in (
        "recordings of 2 sample rates: 16000 Hz (5), 8000 Hz (1)",
        "1 utterance with several channels",
        f"1 utterance silent (first: {manifest}:3)",
        f"3 utterances clipped: recorded too loud (first: {manifest}:4)",
        f"1 utterance of the same recording as an earlier one (first: {manifest}:5 and :4)",
        f"1 utterance of the same recording in train and test (first: {manifest}:6 and :4)",
        "the test split has one word, 'maybe'",
        "1 word of the test split is never trained on: maybe",
        "1 word written in several ways: cafe / café",
    ):
        assert any(said in warning for warning in warnings), (said, warnings)
    newer = check_manifest(corpus({"text": "hey \U0001fae8"}), listen=False)
    assert any("1 character newer" in w and "U+1FAE8" in w for w in newer.warnings)
    untested = check_manifest(corpus({"split": "train"}), listen=False)
    assert any("no utterance is for testing" in warning for warning in untested.warnings)


def test_segments_of_one_file_are_no_duplicates_unless_they_overlap(
    corpus: Callable[..., Path], tmp_path: Path
) -> None:
    sound(tmp_path / "long.wav", 3.0)
    part = {"audio_filepath": "long.wav", "duration": 1.0}
    apart = [{**part, "offset": offset} for offset in (0, 1.0, 2.0)]
    report = check_manifest(corpus(*apart))
    assert (report.seconds, report.notices, report.exit_code) == (3.0, {}, 0)
    report = check_manifest(corpus(*apart[:2], {**part, "offset": 1.5}))
    assert list(report.notices) == ["of the same recording in train and test"]


def test_durations_are_compared_with_the_files(corpus: Callable[..., Path]) -> None:
    good = Utterance(corpus({}, {}).parent / "0.wav", "yes", 0.5, "a")
    check_durations([good, replace(good, duration_secs=0.54), replace(good, offset_secs=0.05)])
    for wrong in ({"duration_secs": 0.56}, {"offset_secs": 0.2}, {"duration_secs": 0.0}):
        with pytest.raises(FedvoiceError) as caught:
            check_durations([good, replace(good, **wrong)])
        assert caught.value.code is ErrorCode.BAD_MANIFEST


@pytest.mark.parametrize(
    ("rate", "samples", "text", "reason"),
    [
        (16000, 900, "yes", None),
        (8000, 900, "yes", Reason.WRONG_SAMPLE_RATE),
        (16000, 300, "yes", Reason.TOO_SHORT),
        (16000, 16000, "yes", Reason.TOO_LONG),
        (16000, 16000 * 3600, "yes", Reason.TOO_LONG),
        (16000, 900, "perhaps", Reason.UNKNOWN_TOKEN),
        (16000, 900, " ", Reason.EMPTY_TRANSCRIPT),
        (16000, 900, "yes no", Reason.TOO_MANY_TOKENS),
    ],
)
def test_why_a_task_leaves_an_utterance_out(
    rate: int, samples: int, text: str, reason: Reason | None
) -> None:
    found = targets_or_reason(samples, rate, text, tiny_manifest())
    assert found == (reason or ("yes", [2]))


def test_no_bucket_is_made_for_what_every_phone_leaves_out() -> None:
    rows = [Utterance(Path("a.wav"), "yes", secs, "a") for secs in (1.0, 1.5, 500.0)]
    features = FeatureSettings(max_secs=4.0)
    buckets = fit_buckets(rows, features, Vocabulary.from_words(["yes"]))
    assert max(bucket["frames"] for bucket in buckets) <= 4 * 100 / features.stack


def test_spelling() -> None:
    letters = {"e": 700, "t": 400, "\u0435": 1}
    assert rare_characters(letters) == ["\u0435"]
    assert rare_characters({"e": 5, "x": 1}) == []
    counts = Counter(["don't", "don't", "dont", "e-mail", "email", "naïve", "naive", "cat"])
    assert spelled_differently(counts) == [
        ["don't", "dont"],
        ["e-mail", "email"],
        ["naive", "naïve"],
    ]


def test_histograms_are_bars() -> None:
    assert histogram([]) == ""
    bars = histogram([0.0] * 8 + [1.0])
    assert bars.startswith("0 █")
    assert bars.endswith("▁ 1")


def test_the_table(corpus: Callable[..., Path]) -> None:
    done = CliRunner().invoke(data, ["check", str(corpus({}, {"text": " "}, {}))])
    assert done.exit_code == 1, done.output
    for said in ("seconds each", "empty-transcript", "left out", "usable: some utterances"):
        assert said in done.stdout
    with pytest.raises(FedvoiceError, match="not-found"):
        check_manifest(Path("none.jsonl"))
