"""Kinds of emulated phones: the kind of each client, and the totals of each kind."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from fedvoice.algorithm.rounds import Work
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.scoring import ErrorCounts
from fedvoice.reporting.results import KindResult


class Kind(StrEnum):
    """The runtime of an emulated phone."""

    PYTHON = "python"
    """The Python runtime on ExecuTorch's own package."""
    ANDROID = "android"
    """The Kotlin phone in a JVM, on Android's ExecuTorch binary."""


REST = "*"
Counts = Mapping[Kind, int | None]
"""Phones wanted of each kind; None: all that are left."""


def parse_counts(text: str) -> dict[str, int | str]:
    """`python=30,android=4` as a mapping; a number may be `*`, all that are left.

    Raises:
        FedvoiceError: `bad-config`.
    """
    counts: dict[str, int | str] = {}
    for part in text.split(","):
        name, _, number = (word.strip() for word in part.partition("="))
        if name not in list(Kind) or name in counts or not (number == REST or number.isdecimal()):
            raise _bad(repr(part), "python=N,android=N, where one N may be * (all that are left)")
        counts[name] = number if number == REST else int(number)
    return counts


def assign_kinds(counts: Counts, phones: int, seed: int) -> list[Kind]:
    """Assign a kind to each of `phones` phones, at random by `seed`.

    A kind that is not given, or given as None, takes the phones that are left.

    Raises:
        FedvoiceError: `bad-config` if the numbers do not add up.
    """
    asked = {kind: number for kind, number in counts.items() if number is not None}
    left = phones - sum(asked.values())
    open_kinds = [kind for kind in Kind if kind not in asked]
    if left < 0 or (left > 0 and not open_kinds):
        given = ", ".join(f"{kind}={number}" for kind, number in asked.items())
        raise _bad(
            f"{given}: {sum(asked.values())} phones",
            f"{phones} phones, as many as the partition has clients",
        )
    # Android phones that are not mentioned: none, unless requested with *.
    if open_kinds:
        starred = [kind for kind in counts if counts[kind] is None]
        asked[(starred or open_kinds)[0]] = left
    kinds = [kind for kind, number in asked.items() for _ in range(number)]
    random.Random(f"{seed}|kinds").shuffle(kinds)
    return kinds


def kind_results(
    store_dir: Path, kinds: Mapping[str, Kind], held_out: Collection[str]
) -> list[KindResult]:
    """The totals of each kind, from the server's books.

    Args:
        kinds: by client id. held_out: clients whose errors are those of held-out speakers.
    """
    # SQL; reading results does not need it.
    from fedvoice.server.store.books import errors_of
    from fedvoice.server.store.database import open_read_only

    store = open_read_only(store_dir)
    try:
        reports = store.reports(work=Work.TRAIN, verdict=int(pb.VERDICT_ACCEPTED))
        traffic = store.traffic()
        evaluations = store.evaluations()
    finally:
        store.close()
    last = max((row.number for row in evaluations), default=0)
    members: dict[Kind, list[str]] = defaultdict(list)
    for client_id, kind in kinds.items():
        members[kind].append(client_id)

    def errors(clients: set[str]) -> ErrorCounts:
        return errors_of(e for e in evaluations if e.number == last and e.client_id in clients)

    results = []
    for kind in Kind:
        own = set(members[kind])
        updates = [r for r in reports if r.client_id in own]
        messages = [t for t in traffic if t.client_id in own]
        mine, others = errors(own - set(held_out)), errors(own & set(held_out))
        if own:
            results.append(
                KindResult(
                    kind=kind.value,
                    clients=sorted(own),
                    updates=len(updates),
                    examples=sum(r.examples for r in updates),
                    steps=sum(r.steps for r in updates),
                    train_secs=sum(r.train_secs for r in updates),
                    bytes_down=sum(t.bytes_down for t in messages),
                    bytes_up=sum(t.bytes_up for t in messages),
                    wer=mine.percent,
                    heldout_wer=others.percent,
                    cer=mine.char_percent,
                    heldout_cer=others.char_percent,
                )
            )
    return results


def kinds_of(client_ids: Sequence[str], counts: Counts, seed: int) -> dict[str, Kind]:
    """The kind of each client; see `assign_kinds`."""
    return dict(zip(client_ids, assign_kinds(counts, len(client_ids), seed), strict=True))


def _bad(got: str, wanted: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.BAD_CONFIG,
        where="fleet.phones (--phones)",
        got=got,
        wanted=wanted,
        next_step="Leave one kind out or give it as *: it takes the remaining phones.",
    )
