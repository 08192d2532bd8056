"""Run one cell to its end, in this process or with phones in processes of their own.

Loads the engines and PyTorch; what a finished cell left is read without (`kept`).
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedvoice.laboratory.experiment.abandoned import (
    see_that_updates_count,
    stuck,
)
from fedvoice.laboratory.experiment.cells import Cell
from fedvoice.laboratory.experiment.checkpoint import (
    STATE_FILE,
    load_state,
    save_state,
)
from fedvoice.laboratory.experiment.kept import (
    read_outcome,
    write_outcome,
)
from fedvoice.laboratory.experiment.lock import held
from fedvoice.laboratory.experiment.outcome import (
    Outcome,
    curve_points,
    rates_of,
)
from fedvoice.laboratory.experiment.progress import (
    Interrupted,
    Progress,
    Pruned,
    PruneRule,
    Report,
    Stop,
)
from fedvoice.protocol.codec import plain_bytes
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.task import (
    WEIGHTS_FILE,
    TaskManifest,
    save_weights,
)
from fedvoice.reporting.results import Results
from fedvoice.server.config import (
    ServerConfig,
    parse_config,
)
from fedvoice.simulation.central import CentralRun
from fedvoice.simulation.clients import Population
from fedvoice.simulation.engines import Driver, TrainerSpec, engines
from fedvoice.simulation.fast.course import draw_client_course
from fedvoice.simulation.federation import (
    Federation,
    FederationState,
    Training,
)
from fedvoice.simulation.populations import (
    build_population,
    export_config,
)
from fedvoice.simulation.quality import (
    ErrorCounts,
    evaluate,
)
from fedvoice.simulation.tasks import (
    LabTask,
    exported_task,
    unexported_task,
)
from fedvoice.simulation.trainers import Trainer
from fedvoice.simulation.workers.spread import (
    HERE,
    Spread,
)

if TYPE_CHECKING:
    from fedvoice.reporting.results import Books

CHECKPOINT_SECS = 20.0
_CLIENTS_PRICED = 64


def server_settings(cell: Cell) -> ServerConfig:
    """The server's settings of a cell.

    Raises:
        FedvoiceError: `bad-config`.
    """
    settings = cell.settings
    fields = {
        "seed": cell.seed,
        "insecure": True,
        **settings.server,
        "plan": {**settings.plan.model_dump(), "seed": cell.seed},
    }
    return parse_config(fields, f"[base.server], {cell.name}")


def cell_task(cell: Cell, tasks_dir: Path, report: Report) -> LabTask:
    """The cell's task, exported if no cell before has done it."""
    config = server_settings(cell)
    export = export_config(cell.settings.data, cell.settings.task, "experiment")
    if not cell.settings.export and not engines.get(cell.settings.engine).needs_package:
        return unexported_task(export)
    return exported_task(
        export, tasks_dir, lambda what: report(Progress(0, config.rounds, f"export: {what}"))
    )


def run_cell(
    cell: Cell,
    directory: Path,
    tasks_dir: Path,
    report: Report,
    should_stop: Stop,
    prune: PruneRule | None = None,
    spread: Spread = HERE,
) -> Outcome:
    """Run a cell, going on from its checkpoint, and write its results into `directory`. While
    another process runs it wait, and take what that one comes to.

    Raises:
        Interrupted: `should_stop` said so.
        Pruned: `prune` said so after an evaluation.
        FedvoiceError: `no-updates` if no round was committed; what reading, exporting or training
            raises.
    """
    finished = read_outcome(cell, directory)
    if finished is not None:
        return finished
    directory.mkdir(parents=True, exist_ok=True)
    rounds = server_settings(cell).rounds

    def wait() -> None:
        if should_stop():
            raise Interrupted
        report(Progress(0, rounds, "waits: another command runs this cell"))

    with held(directory, wait):
        finished = read_outcome(cell, directory)  # whoever had it may have come to its end
        if finished is not None:
            return finished
        return _run_unfinished(cell, directory, tasks_dir, report, should_stop, prune, spread)


def _run_unfinished(
    cell: Cell,
    directory: Path,
    tasks_dir: Path,
    report: Report,
    should_stop: Stop,
    prune: PruneRule | None,
    spread: Spread,
) -> Outcome:
    task = cell_task(cell, tasks_dir, report)
    driver = engines.get(cell.settings.engine).driver
    if driver is Driver.PHONES:
        return _run_on_phones(cell, task, directory, report, should_stop, spread.workers)
    spec = TrainerSpec(cell.settings.engine, task.manifest, task.package_dir)
    source = partial(build_population, cell.settings.data, task.manifest, cell.seed)
    trainer, population = spec.make(), source()
    began = time.monotonic()
    plan = cell.settings.plan.model_copy(update={"seed": cell.seed})
    judge = partial(_judge, trainer, task.manifest, population)

    def go_on(training: Training) -> FederationState:
        report(Progress(0, training.rounds, "read the corpus"))
        state = load_state(directory) or training.start(task.initial_weights(cell.seed))
        return run_rounds(cell, training, state, directory, report, should_stop, prune)

    if driver is Driver.CENTRAL:
        alpha = server_settings(cell).alpha
        central = CentralRun(task.manifest, population, plan, cell.settings.central, judge, alpha)
        state = go_on(central)
    else:
        config = server_settings(within_budget(cell, task.manifest, population))
        with closing(spread.backend(spec, source, trainer, population)) as backend:
            federation = Federation(
                cell.arm, task.manifest, population.client_ids, plan, config, backend, judge
            )
            state = go_on(federation)
        save_state(directory, state)  # what comes to nothing says so at once when it is asked again
        see_that_updates_count(f"cell {cell.name}", state.rows, state.refused)
    save_weights(directory / WEIGHTS_FILE, state.weights, task.manifest.parameters)
    results = Results(
        rounds=list(state.rows),
        final={**final_rates(state), "secs": time.monotonic() - began},
        config=describe(cell, task.manifest, len(population.client_ids)),
    )
    outcome = write_outcome(cell, directory, results, state.evaluations)
    (directory / STATE_FILE).unlink(missing_ok=True)
    return outcome


def _run_on_phones(
    cell: Cell, task: LabTask, directory: Path, report: Report, should_stop: Stop, processes: int
) -> Outcome:
    from fedvoice.laboratory.experiment.phones import (
        simulate_cell,  # a server's and a phone's modules
    )

    rounds = server_settings(cell).rounds

    def observe(books: Books) -> None:
        report(Progress(len(books.rounds), rounds))
        if should_stop():
            raise Interrupted

    results, evaluations = simulate_cell(cell, task, directory, observe, processes)
    see_that_updates_count(f"cell {cell.name}", results.rounds, {})
    return write_outcome(cell, directory, results, evaluations)


def run_rounds(
    cell: Cell,
    training: Training,
    state: FederationState,
    directory: Path,
    report: Report,
    should_stop: Stop,
    prune: PruneRule | None,
) -> FederationState:
    """All rounds of a cell from `state` on, or as many as its target and budget ask for."""
    rounds = training.rounds
    saved = time.monotonic()
    while state.number < rounds and not is_over(cell, state):
        if should_stop():
            save_state(directory, state)
            raise Interrupted
        state = training.step(state)
        report(Progress(state.number, rounds, describe_rates(state)))
        if prune is not None and state.number in state.evaluations:
            points = curve_points(state.rows, state.evaluations)
            if prune(points[-1]):
                raise Pruned(points)
        if time.monotonic() - saved > CHECKPOINT_SECS:
            save_state(directory, state)
            saved = time.monotonic()
    # A budget may end a run between two evaluations: its figure is that of what it paid for.
    return training.finish(state) if 0 < state.number < rounds else state


def _judge(
    trainer: Trainer, manifest: TaskManifest, population: Population, weights: FlatVector
) -> dict[str, ErrorCounts]:
    return {
        name: sum((evaluate(trainer, manifest, part, weights) for part in parts), ErrorCounts(0, 0))
        for name, parts in population.evaluation.items()
    }


def within_budget(cell: Cell, manifest: TaskManifest, population: Population) -> Cell:
    """The cell with as many rounds as its CFMQ budget pays for, where it names a budget and no
    rounds: schedules that fall to the last round need to know it beforehand.

    The cost of a round is K (weights + update + alpha mu steps), steps and mu those of the clients'
    first round on average.
    """
    settings = cell.settings
    if settings.cfmq_budget_bytes is None or "rounds" in settings.server:
        return cell
    plan = settings.plan.model_copy(update={"seed": cell.seed})
    byte_steps = []
    for client_id in population.client_ids[:_CLIENTS_PRICED]:
        data = population.train(client_id)
        course = draw_client_course(manifest, client_id, data, plan, 1)
        if course.used:
            byte_steps.append(len(course.steps) * course.planned_memory_bytes(manifest, plan))
    server = server_settings(cell)
    clients = min(server.cohort_size, len(population.client_ids))
    mean = sum(byte_steps) / max(1, len(byte_steps))
    table = manifest.parameters
    up = plain_bytes(plan.update_encoding, table.total_size)  # what compression saves is left over
    round_bytes = clients * (table.weights_bytes + up + server.alpha * mean)
    rounds = max(1, int(settings.cfmq_budget_bytes / round_bytes))
    fields = {**settings.server, "rounds": rounds}
    return replace(cell, settings=settings.model_copy(update={"server": fields}))


def is_over(cell: Cell, state: FederationState) -> bool:
    """Whether the cell's target or its budget is reached, or no update counts any more (which a
    plan that changes with the rounds may yet mend)."""
    settings = cell.settings
    if stuck(state.rows) and not settings.server.get("plan_schedule"):
        return True
    budget = settings.cfmq_budget_bytes
    if budget is not None and state.cost.total_bytes >= budget:
        return True
    if settings.target is None or state.number not in state.evaluations:
        return False
    rate = rates_of(state.evaluations[state.number]).get(settings.target_metric)
    return rate is not None and rate <= settings.target


def final_rates(state: FederationState) -> dict[str, Any]:
    """What `results.json` says of the last evaluation and of the whole run."""
    numbers = sorted(state.evaluations)
    last = rates_of(state.evaluations[numbers[-1]]) if numbers else {}
    first = rates_of(state.evaluations[0]) if 0 in state.evaluations else {}
    return {
        "wer": last.get("wer"),
        "heldout_wer": last.get("heldout_wer"),
        "pooled": last.get("pooled"),
        "initial_wer": first.get("wer"),
        "initial_heldout_wer": first.get("heldout_wer"),
        "rounds": state.number,
        "complete": True,
    }


def describe_rates(state: FederationState) -> str:
    """The last evaluation in a few words."""
    numbers = sorted(state.evaluations)
    if not numbers:
        return ""
    rates = rates_of(state.evaluations[numbers[-1]])
    return f"{rates['pooled']:.1f} %" if "pooled" in rates else ""


def describe(cell: Cell, manifest: TaskManifest, clients: int) -> dict[str, Any]:
    """The configuration part of a cell's results."""
    return {
        "name": cell.name,
        "seed": cell.seed,
        **cell.settings.model_dump(mode="json"),
        "alpha": server_settings(cell).alpha,
        "parameters": manifest.parameters.parameter_count,
        "phones": clients,
    }
