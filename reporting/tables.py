"""The tables of one run, as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedvoice.protocol.cost import human_bytes
from fedvoice.protocol.notes import counted
from fedvoice.protocol.usage import Usage
from fedvoice.reporting.page import folded, paragraph, table
from fedvoice.reporting.rates import RATES, rate_of
from fedvoice.reporting.results import KindResult, RoundResult


def rounds_table(rounds: Sequence[RoundResult]) -> str:
    """Every round, folded where there are many."""
    if not rounds:
        return ""
    shown = [rate for rate in RATES if any(rate_of(r, rate) is not None for r in rounds)]
    heads = ["round", "end", "clients", "examples", "steps", "loss", *(r.head for r in shown)]
    heads += ["down", "up", "CFMQ comm.", "CFMQ comp.", "secs"]
    rows = [
        (
            str(r.round),
            r.end,
            str(r.clients),
            str(r.examples),
            str(r.steps),
            "" if r.loss is None else f"{r.loss:.3f}",
            *(_percent(rate_of(r, rate)) for rate in shown),
            human_bytes(r.bytes_down),
            human_bytes(r.bytes_up),
            human_bytes(r.cfmq_communication_bytes),
            human_bytes(r.cfmq_compute_bytes),
            f"{r.wall_secs:.1f}",
        )
        for r in rounds
    ]
    told = (
        "Bytes, steps and seconds are each round's own; CFMQ adds up from the start. Error rates "
        "stand where the round was tested."
    )
    return paragraph(told) + folded(
        counted(len(rows), "round"), table(heads, rows), opened=len(rows) <= 12
    )


def kinds_table(kinds: Sequence[KindResult]) -> str:
    """The phones by kind, where there is more than one."""
    if len(kinds) < 2:
        return ""
    heads = ["kind", "clients", "updates", "examples", "steps", "training secs", "down", "up"]
    shown = [r for r in RATES if any(getattr(k, r.name, None) is not None for k in kinds)]
    heads += [rate.head for rate in shown]
    rows = [
        (
            k.kind,
            str(len(k.clients)),
            str(k.updates),
            str(k.examples),
            str(k.steps),
            f"{k.train_secs:.1f}",
            human_bytes(k.bytes_down),
            human_bytes(k.bytes_up),
            *(_percent(getattr(k, rate.name, None)) for rate in shown),
        )
        for k in kinds
    ]
    who = "".join(paragraph(f"{k.kind}: {', '.join(k.clients)}") for k in kinds)
    return table(heads, rows) + folded("Which phone is which", who)


def usage_table(usage: Mapping[str, Any] | None) -> str:
    """What is used of the corpus and what is left out, by reason, with the first of each.

    Args:
        usage: `final["usage"]`; None: an older run did not count.
    """
    if not usage:
        return ""
    parts = {"training": usage.get("train", {})}
    for name, own in usage.get("tests", {}).items():
        labels = {rate.name: rate.label.removeprefix("WER, ") for rate in RATES}
        parts[f"test: {labels.get(name, name)}"] = own
    rows = []
    for name, fields in parts.items():
        own = Usage.from_dict(fields)
        rows.append((name, "used", str(own.used), ""))
        rows += [
            (name, f"left out: {reason}", str(left.count), left.first)
            for reason, left in own.left_out.items()
        ]
    skipped = sum(Usage.from_dict(fields).skipped for fields in parts.values())
    told = "No utterance was left out."
    if skipped:
        told = f"{counted(skipped, 'utterance')} left out; the first of each reason is named."
    warnings = "".join(
        paragraph(f"Warning: {warning}", "note") for warning in usage.get("warnings", ())
    )
    return (
        warnings
        + paragraph(told)
        + table(["speech", "what", "utterances", "first"], rows, left=True)
    )


def partition_table(partition: Mapping[str, Any] | None) -> str:
    """The sizes of the clients and how their labels differ.

    Args:
        partition: `final["partition"]`; None: not known.
    """
    if not partition:
        return ""
    names = {
        "clients": "clients",
        "empty": "clients without an example",
        "examples": "examples",
        "smallest": "fewest examples of a client",
        "median": "median",
        "largest": "most examples of a client",
        "label_skew": "label skew (0: every client has the mixture of all; 1: nothing in common)",
        "random_skew": "label skew of a random deal to clients of these sizes",
    }
    rows = [
        (told, f"{partition[name]:.4g}")
        for name, told in names.items()
        if partition.get(name) is not None
    ]
    return table(["partition", ""], rows)


def _percent(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.1f}"
