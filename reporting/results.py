"""`results.json`: the measurements of a run, round by round."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.files import write_file

RESULTS_FILE = "results.json"
_OF_CHARACTERS = ("cer", "heldout_cer")
"""Left out of rows that have none, so that files of labels are those of earlier versions."""


@dataclass(frozen=True)
class RoundResult:
    """One committed round.

    loss: mean training loss, weighted by examples. wer, heldout_wer: percent, of the model
    after the round, or None when it was not evaluated. cer, heldout_cer: the same of characters,
    or None where none were counted. clients, examples, steps, bytes_*,
    wall_secs: of this round. cfmq_*: cumulative, the cost of the quality reached by now;
    measured on the wire and from the steps taken. analytic_cfmq_bytes: the paper's formula for
    the same rounds. peak_memory_bytes: largest measured growth of a phone's resident set,
    to hold against memory_bytes (mu).
    """

    round: int
    loss: float | None
    wer: float | None
    heldout_wer: float | None
    clients: int
    examples: int
    steps: int
    bytes_down: int
    bytes_up: int
    cfmq_communication_bytes: float
    cfmq_compute_bytes: float
    wall_secs: float
    memory_bytes: int = 0
    peak_memory_bytes: int = 0
    analytic_cfmq_bytes: float = 0.0
    end: str = ""
    cer: float | None = None
    heldout_cer: float | None = None


@dataclass(frozen=True)
class KindResult:
    """Totals of the phones of one kind over a whole run.

    updates: accepted ones; examples, steps, train_secs: their sums. bytes_*: all messages of these
    phones. wer, heldout_wer, cer, heldout_cer: percent, at the last evaluation; None: not
    measured.
    """

    kind: str
    clients: list[str]
    updates: int
    examples: int
    steps: int
    train_secs: float
    bytes_down: int
    bytes_up: int
    wer: float | None
    heldout_wer: float | None
    cer: float | None = None
    heldout_cer: float | None = None


@dataclass(frozen=True)
class Results:
    """A whole run. `final`: wer, heldout_wer, cer and heldout_cer (percent) of the last model,
    initial ones, one-time program bytes, seconds."""

    rounds: list[RoundResult]
    final: dict[str, Any]
    config: dict[str, Any] = field(default_factory=dict)
    kinds: list[KindResult] = field(default_factory=list)
    """Totals of each kind of phone."""

    def write(self, directory: Path) -> Path:
        """Write `directory/results.json`, replacing an older one in one step."""
        path = directory / RESULTS_FILE
        fields = asdict(self)
        for row in (*fields["rounds"], *fields["kinds"]):
            for name in _OF_CHARACTERS:
                if row[name] is None:
                    del row[name]
        write_file(path, json.dumps(fields, indent=1))
        return path


@dataclass(frozen=True)
class Books:
    """rounds: the closed ones. initial: error rates before training, percent, or None."""

    rounds: list[RoundResult]
    initial_wer: float | None
    initial_heldout_wer: float | None
    evaluation_bytes: int
    install_bytes: int
    idle_bytes: int
    initial_cer: float | None = None
    initial_heldout_cer: float | None = None


def read_results(directory: Path) -> Results:
    """Read `directory/results.json`.

    Raises:
        FedvoiceError: `not-found`, `bad-manifest`.
    """
    path = directory / RESULTS_FILE
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return Results(
            rounds=[RoundResult(**row) for row in fields["rounds"]],
            final=fields["final"],
            config=fields["config"],
            kinds=[KindResult(**row) for row in fields.get("kinds", [])],
        )
    except OSError as error:
        raise FedvoiceError(
            ErrorCode.NOT_FOUND,
            where=str(path),
            got=str(error.strerror),
            wanted="the results of a run",
            next_step="Point at a folder that `fedvoice simulate --out` wrote.",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise FedvoiceError(
            ErrorCode.BAD_MANIFEST,
            where=str(path),
            got=f"{type(error).__name__}: {error}",
            wanted="results of this version of fedvoice",
            next_step="Run the simulation again.",
        ) from error
