"""A trial on emulated phones: a server process, phones on ExecuTorch, gRPC between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fedvoice.data.dataset import clients_of
from fedvoice.data.dataset import described as described_data
from fedvoice.laboratory.experiment.trials import Trial
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.scoring import ErrorCounts
from fedvoice.protocol.task import load_package
from fedvoice.reporting.results import Books
from fedvoice.server.store.books import errors_of
from fedvoice.server.store.ledger import evaluation_rows, round_rows
from fedvoice.simulation.fleet.config import FleetConfig, SimulationConfig
from fedvoice.simulation.fleet.prepare import SERVER_DIR, TASK_DIR, Prepared
from fedvoice.simulation.fleet.run import books_of, config_of, simulate
from fedvoice.simulation.tasks import TrainingTask
from fedvoice.simulation.training import rates_of
from fedvoice.simulation.usage import CorpusUsage

if TYPE_CHECKING:
    from fedvoice.reporting.results import Results


class Observe(Protocol):
    """Receives the books of a trial and the `config` of its results."""

    def __call__(self, books: Books, config: Mapping[str, Any], *, last: bool = False) -> None: ...


def simulate_trial(
    trial: Trial,
    task: TrainingTask,
    usage: CorpusUsage,
    directory: Path,
    observe: Observe,
    processes: int,
) -> tuple[Results, dict[int, dict[str, ErrorCounts]]]:
    """Run all rounds of a trial, resuming from its server's store.

    Args:
        usage: what the task uses of the corpus.
        observe: called with the books before the first round, as they grow, and when nothing
            follows (`last`); an exception stops the run.
        processes: number of processes that the phones share.

    Returns:
        Results, and errors by round and test set.

    Raises:
        FedvoiceError: `bad-config` for settings that phones lack; errors of the simulation.
    """
    settings = trial.settings
    if not settings.data.sounds:
        corpus = described_data(settings.data).get("corpus", "in memory")
        raise _not_for_phones(trial, f"corpus {corpus}", "speech: phones store sound files")
    if settings.target is not None or settings.cfmq_budget_bytes is not None:
        raise _not_for_phones(trial, "a target or a budget", "a number of rounds")
    package_dir = directory / TASK_DIR
    if not package_dir.is_dir():
        task.write_seeded(package_dir, trial.seed)
    config = SimulationConfig(
        name=trial.name,
        seed=trial.seed,
        data=settings.data,
        task=settings.task,
        plan=settings.plan,
        server=settings.server,
        fleet=FleetConfig(processes=processes),
    )
    phones = list(clients_of(settings.data, seed=trial.seed).phones)
    prepared = Prepared(config, directory, phones, load_package(package_dir), usage)
    described = config_of(prepared)
    observe(books_of(prepared), described)
    results = simulate(prepared, lambda books: observe(books, described))
    observe(books_of(prepared), described, last=True)
    held_out = {phone.client_id for phone in phones if phone.held_out}
    evaluations = read_evaluations(directory / SERVER_DIR, held_out)
    last = rates_of(evaluations[max(evaluations)]) if evaluations else {}
    pooled = {name: last.get(name) for name in ("pooled", "pooled_cer")}
    return replace(results, final={**results.final, **pooled}), evaluations


def read_evaluations(store_dir: Path, held_out: set[str]) -> dict[int, dict[str, ErrorCounts]]:
    """Word and character errors from the server's books, by round and test set."""
    found: dict[int, dict[str, ErrorCounts]] = {}
    for row in round_rows(store_dir):
        sets = {"wer": ErrorCounts(0, 0), "heldout_wer": ErrorCounts(0, 0)}
        for entry in evaluation_rows(store_dir, row.round):
            name = "heldout_wer" if entry.client_id in held_out else "wer"
            sets[name] += errors_of([entry])
        sets = {name: counts for name, counts in sets.items() if counts.references}
        if sets:
            found[row.round] = sets
    return found


def _not_for_phones(trial: Trial, got: str, wanted: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.BAD_CONFIG,
        where=f"trial {trial.name}, engine phones",
        got=got,
        wanted=wanted,
        next_step="Take engine = fast or executorch, or change the setting.",
    )
