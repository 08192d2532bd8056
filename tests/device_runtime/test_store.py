"""The phone's examples: kept, capped, expired, forgotten."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fedvoice.device_runtime.store import (
    ExampleStore,
    NewExample,
    Source,
    Split,
    StoreLimits,
    WhenFull,
)
from fedvoice.protocol.errors import ErrorCode, FedvoiceError


def recording(path: Path, *, samples: int = 800) -> Path:
    soundfile.write(path, np.zeros(samples, dtype=np.float32), 16000, subtype="PCM_16")
    return path


@pytest.fixture
def sound(tmp_path: Path) -> bytes:
    return recording(tmp_path / "sound.wav").read_bytes()


def texts(store: ExampleStore, split: Split = Split.TRAIN) -> list[str]:
    return [row.transcript for row in store.examples(split)]


def test_what_is_put_in_comes_out(tmp_path: Path, sound: bytes) -> None:
    store = ExampleStore(tmp_path / "new" / "examples.sqlite", clock=lambda: 5.0)
    path = recording(tmp_path / "b.wav", samples=1000)
    held = store.add(NewExample(sound, "Turn  LEFT", Source.CORRECTION))
    referred = store.add(NewExample(path, "go", Source.PROMPT, Split.TEST))

    again = ExampleStore(tmp_path / "new" / "examples.sqlite")
    (first,) = again.examples(Split.TRAIN)
    (second,) = again.examples(Split.TEST)
    assert (first.id, second.id) == (held, referred)
    assert (first.transcript, first.source, first.samples) == ("Turn LEFT", "correction", 800)
    assert (second.sample_rate, second.samples, second.added_secs) == (16000, 1000, 5.0)
    assert again.audio(first) == sound
    assert again.audio(second) == path
    assert again.held_bytes() == len(sound)
    assert (again.count(Split.TRAIN), again.count(Split.TEST)) == (1, 1)


def test_rounds_used_are_remembered(tmp_path: Path, sound: bytes) -> None:
    store = ExampleStore(tmp_path / "s")
    first, second = store.add_all([NewExample(sound, "a"), NewExample(sound, "b")])
    store.mark_used([first, second], 3)
    store.mark_used([first, 999], 4)
    store.mark_used([first], 4)
    assert store.rounds_used(first) == [3, 4]
    assert store.rounds_used(second) == [3]
    store.delete(first)
    assert store.rounds_used(first) == []


@pytest.mark.parametrize("by", ["count", "bytes"])
def test_a_full_store_forgets_its_oldest(tmp_path: Path, sound: bytes, by: str) -> None:
    limits = StoreLimits(max_examples=2) if by == "count" else StoreLimits(max_bytes=2 * len(sound))
    store = ExampleStore(tmp_path / "s", limits)
    store.add_all(NewExample(sound, text) for text in ("a", "b", "c"))
    assert texts(store) == ["b", "c"]


def test_a_full_store_can_refuse(tmp_path: Path, sound: bytes) -> None:
    store = ExampleStore(tmp_path / "s", StoreLimits(max_examples=2, when_full=WhenFull.REFUSE))
    store.add(NewExample(sound, "a"))
    with pytest.raises(FedvoiceError) as caught:
        store.add_all(NewExample(sound, text) for text in ("b", "c"))
    assert caught.value.code is ErrorCode.STORE_FULL
    assert texts(store) == ["a"], "all or none"


def test_what_is_larger_than_the_store_evicts_nobody(tmp_path: Path, sound: bytes) -> None:
    store = ExampleStore(tmp_path / "s", StoreLimits(max_bytes=len(sound)))
    store.add(NewExample(sound, "a"))
    large = recording(tmp_path / "large.wav", samples=5000).read_bytes()
    with pytest.raises(FedvoiceError) as caught:
        store.add(NewExample(large, "b"))
    assert caught.value.code is ErrorCode.STORE_FULL
    assert texts(store) == ["a"]


def test_examples_live_for_their_time(tmp_path: Path, sound: bytes) -> None:
    now = [0.0]
    store = ExampleStore(tmp_path / "s", StoreLimits(time_to_live_secs=10.0), clock=lambda: now[0])
    store.add(NewExample(sound, "old"))
    now[0] = 6.0
    store.add(NewExample(sound, "new"))
    now[0] = 10.0
    assert texts(store) == ["old", "new"]
    now[0] = 10.5
    assert texts(store) == ["new"]
    assert store.count(Split.TRAIN) == 1


def test_what_is_deleted_is_gone_from_the_file(tmp_path: Path, sound: bytes) -> None:
    store = ExampleStore(tmp_path / "s")
    store.add_all(NewExample(sound, "confidential") for _ in range(20))
    store.delete_all()
    content = (tmp_path / "s").read_bytes()
    assert b"confidential" not in content
    assert sound not in content
    assert texts(store) == []


@pytest.mark.parametrize(
    ("audio", "text", "code"),
    [
        (b"not a sound", "a", ErrorCode.UNREADABLE_AUDIO),
        (Path("/nowhere/a.wav"), "a", ErrorCode.MISSING_AUDIO),
        (None, "  ", ErrorCode.EMPTY_TRANSCRIPT),
    ],
)
def test_what_cannot_be_used_is_not_stored(
    tmp_path: Path, sound: bytes, audio: bytes | Path | None, text: str, code: ErrorCode
) -> None:
    store = ExampleStore(tmp_path / "s")
    with pytest.raises(FedvoiceError) as caught:
        store.add(NewExample(sound if audio is None else audio, text))
    assert caught.value.code is code
    assert store.count(Split.TRAIN) == 0


def test_a_file_that_is_no_store_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b"something else entirely" * 100)
    with pytest.raises(FedvoiceError) as caught:
        ExampleStore(tmp_path / "s")
    assert caught.value.code is ErrorCode.BAD_CONFIG
    assert str(tmp_path / "s") in str(caught.value)


def test_a_full_disk_is_named(tmp_path: Path, sound: bytes, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    store = ExampleStore(tmp_path / "s")
    real = sqlite3.connect

    def small_disk(*args, **kwargs):  # type: ignore[no-untyped-def]
        connection = real(*args, **kwargs)
        connection.execute("PRAGMA max_page_count = 12")
        return connection

    monkeypatch.setattr(sqlite3, "connect", small_disk)
    with pytest.raises(FedvoiceError) as caught:
        store.add_all(NewExample(sound, "a") for _ in range(100))
    assert caught.value.code is ErrorCode.NO_SPACE
    assert store.count(Split.TRAIN) == 0
