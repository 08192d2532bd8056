"""Emulated phones, many to a process: each with its own store, identity, conditions and books,
all running the real device runtime against the server's socket.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedvoice.android_harness.emulation.recordings import for_android
from fedvoice.data.audio import read_facts
from fedvoice.data.speakers import PhoneData
from fedvoice.device_runtime.conditions import (
    Conditions,
    ConditionSource,
    ScriptedConditions,
    always,
)
from fedvoice.device_runtime.course import UNUSABLE
from fedvoice.device_runtime.store import ExampleStore, NewExample, Split
from fedvoice.protocol.errors import FedvoiceError
from fedvoice.protocol.utterances import Utterance
from fedvoice.simulation.fleet.config import FleetConfig
from fedvoice.simulation.fleet.kinds import Kind, kinds_of

STORE_FILE = "examples.sqlite"


@dataclass(frozen=True)
class EmulatedPhone:
    """An emulated phone: its folder, its script of conditions, and its kind."""

    client_id: str
    state_dir: Path
    script: tuple[tuple[float, Conditions], ...] = ()
    kind: Kind = Kind.PYTHON

    @property
    def store(self) -> ExampleStore:
        """The phone's examples."""
        return ExampleStore(self.state_dir / STORE_FILE)

    def conditions(self) -> ConditionSource:
        """The phone's conditions, its script starting now."""
        return ScriptedConditions(self.script) if self.script else always()


def set_up_phones(
    data: Sequence[PhoneData], fleet: FleetConfig, directory: Path, seed: int
) -> list[EmulatedPhone]:
    """Give each phone its folder and speech (by reference to the audio files).

    Phones that have their speech from an interrupted run keep it.

    Raises:
        FedvoiceError: `bad-config` if the numbers of the kinds do not add up.
    """
    scripts = _scripts(len(data), fleet, seed)
    kinds = kinds_of([own.client_id for own in data], fleet.counts, seed)
    phones = []
    for own, script in zip(data, scripts, strict=True):
        kind = kinds[own.client_id]
        phone = EmulatedPhone(own.client_id, directory / own.client_id, script, kind)
        phone.state_dir.mkdir(parents=True, exist_ok=True)
        store = phone.store
        if store.count(Split.TRAIN) + store.count(Split.TEST) == 0:
            store.add_all(
                _readable(kind, own.train, Split.TRAIN) + _readable(kind, own.test, Split.TEST)
            )
        phones.append(phone)
    return phones


def _readable(kind: Kind, utterances: Sequence[Utterance], split: Split) -> list[NewExample]:
    """Utterances as a phone stores them, without those that nobody can read: they were counted
    before (`simulation.usage`)."""
    found: list[NewExample] = []
    for utterance in utterances:
        try:
            read_facts(utterance.audio_path, utterance.where)
            found += _EXAMPLES[kind]([utterance], split)
        except FedvoiceError as error:
            if error.code not in UNUSABLE:
                raise
    return found


def python_examples(utterances: Sequence[Utterance], split: Split) -> list[NewExample]:
    """Utterances as a Python phone reads them: by reference."""
    return [
        NewExample(
            audio=u.audio_path.absolute(),
            transcript=u.text,
            split=split,
            offset_secs=u.offset_secs,
            duration_secs=u.segment_secs,
        )
        for u in utterances
    ]


def wav_examples(utterances: Sequence[Utterance], split: Split) -> list[NewExample]:
    """Utterances as an Android phone reads them: wav by reference, all else, segments too, as wav
    bytes."""
    return [
        NewExample(
            audio=for_android(u.audio_path.absolute(), u.offset_secs, u.segment_secs),
            transcript=u.text,
            split=split,
        )
        for u in utterances
    ]


_EXAMPLES: dict[Kind, Callable[[Sequence[Utterance], Split], list[NewExample]]] = {
    Kind.PYTHON: python_examples,
    Kind.ANDROID: wav_examples,
}


def _scripts(
    count: int, fleet: FleetConfig, seed: int
) -> list[tuple[tuple[float, Conditions], ...]]:
    """A script for each phone, assigned at random by `seed`."""
    scripts: list[tuple[tuple[float, Conditions], ...]] = [()] * count
    order = list(range(count))
    random.Random(seed).shuffle(order)
    for script in fleet.scripts:
        steps = tuple(
            (s.from_secs, Conditions(charging=s.charging, idle=s.idle, unmetered=s.unmetered))
            for s in script.steps
        )
        for _ in range(round(script.share * count)):
            if order:
                scripts[order.pop()] = steps
    return scripts
