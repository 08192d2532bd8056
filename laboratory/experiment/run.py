"""Run one trial to its end, in this process or with phones in processes of their own.

Loads the engines and PyTorch; finished trials are read without them (`kept`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedvoice.laboratory.experiment.budget import is_over, within_budget
from fedvoice.laboratory.experiment.kept import (
    Evaluations,
    describe,
    final_rates,
    read_outcome,
    write_outcome,
)
from fedvoice.laboratory.experiment.lock import held
from fedvoice.laboratory.experiment.outcome import Outcome
from fedvoice.laboratory.experiment.trials import Trial
from fedvoice.protocol.notes import Note
from fedvoice.protocol.task import WEIGHTS_FILE, save_weights
from fedvoice.reporting.callbacks import Callback, Callbacks, RunInfo
from fedvoice.reporting.following import Following
from fedvoice.reporting.results import Results
from fedvoice.simulation.abandoned import see_that_updates_count
from fedvoice.simulation.central import CentralRun
from fedvoice.simulation.checkpoint import STATE_FILE, load_state, save_state
from fedvoice.simulation.engines import ENGINES, Driver, TrainerSpec
from fedvoice.simulation.federation import Federation, FederationState, Training
from fedvoice.simulation.populations import build_population, export_config, see_partition
from fedvoice.simulation.quality import judged
from fedvoice.simulation.tasks import TrainingTask, exported_task, unexported_task
from fedvoice.simulation.training import run_rounds
from fedvoice.simulation.transcripts import keep_transcripts
from fedvoice.simulation.usage import USAGE_DIR, CorpusUsage, check_usable, kept_usage
from fedvoice.simulation.workers.spread import HERE, Spread

if TYPE_CHECKING:
    from fedvoice.reporting.results import Books

_log = logging.getLogger("fedvoice.laboratory")


def trial_task(trial: Trial, tasks_dir: Path, note: Note) -> TrainingTask:
    """The trial's task, exported if no earlier trial has done so; `note` receives the parts."""
    export = export_config(trial.settings.data, trial.settings.task, "experiment")
    if not trial.settings.export and not ENGINES.get(trial.settings.engine).needs_package:
        return unexported_task(export)
    return exported_task(export, tasks_dir, lambda what: note(f"export: {what}"))


def trial_usage(
    trial: Trial, task: TrainingTask, tasks_dir: Path, told: Callback, *, allow_skipped: bool
) -> CorpusUsage:
    """What the trial's task uses of its corpus; looked at once for all trials that share both.

    Raises:
        FedvoiceError: `too-little-usable`.
    """
    folder = tasks_dir / USAGE_DIR
    usage = kept_usage(trial.settings.data, trial.seed, task.manifest, folder, told.noted)
    for line in usage.lines():
        told.stated(line)
    check_usable(usage, f"the corpus of {trial.name}", allow_skipped=allow_skipped)
    return usage


@dataclass(frozen=True)
class TrialRun:
    """A trial to run: its folder, the folder of shared tasks, its callbacks, and its workers."""

    trial: Trial
    directory: Path
    tasks_dir: Path
    callbacks: Sequence[Callback] = ()
    spread: Spread = HERE
    allow_skipped: bool = False

    def run(self) -> Outcome:
        """Run the trial, resuming from its checkpoint, and write its results into the directory.
        If another process is running it, wait and return that result.

        Raises:
            Interrupted, Pruned: by a callback.
            FedvoiceError: `no-updates` if no round was committed; errors of reading, exporting
                and training.
        """
        finished = read_outcome(self.trial, self.directory)
        if finished is not None:
            return finished
        self.directory.mkdir(parents=True, exist_ok=True)
        with held(
            self.directory, lambda: self._told.noted("waits: another command is running this trial")
        ):
            finished = read_outcome(
                self.trial, self.directory
            )  # the other process may have finished it
            return finished if finished is not None else self._run_unfinished()

    @cached_property
    def _told(self) -> Callback:
        return Callbacks(self.callbacks)

    @cached_property
    def _driver(self) -> Driver:
        return ENGINES.get(self.trial.settings.engine).driver

    def _run_unfinished(self) -> Outcome:
        task = trial_task(self.trial, self.tasks_dir, self._told.noted)
        usage = trial_usage(
            self.trial, task, self.tasks_dir, self._told, allow_skipped=self.allow_skipped
        )
        if self._driver is Driver.PHONES:
            return self._run_on_phones(task, usage)
        return self._run_here(task, usage)

    def _run_here(self, task: TrainingTask, usage: CorpusUsage) -> Outcome:
        trial, began = self.trial, time.monotonic()
        spec = TrainerSpec(
            trial.settings.engine, task.manifest, task.package_dir, frozen=task.frozen
        )
        source = partial(build_population, trial.settings.data, task.manifest, trial.seed)
        trainer, population = spec.make(), source()
        config = None
        if self._driver is not Driver.CENTRAL:
            config = within_budget(trial, task.manifest, population)
        partition = see_partition(population, self._told.stated, config)
        judge = partial(judged, trainer, task.manifest, population)
        if config is None:
            state, early = self._train(
                CentralRun(
                    task.manifest,
                    population,
                    trial.plan,
                    trial.settings.central,
                    judge,
                    trial.server.alpha,
                ),
                task,
                len(population.client_ids),
            )
        else:
            with closing(self.spread.pool_for(spec, source, trainer, population)) as pool:
                federation = Federation(
                    trial.arm,
                    task.manifest,
                    population.client_ids,
                    trial.plan,
                    config,
                    pool,
                    judge,
                    population.size,
                )
                state, early = self._train(federation, task, len(population.client_ids))
            save_state(self.directory, state)  # a failure is kept too, so that a retry fails fast
            see_that_updates_count(f"trial {trial.name}", state.rows, state.refused)
        save_weights(self.directory / WEIGHTS_FILE, state.weights, task.manifest.parameters)
        if not early:
            keep_transcripts(self.directory, population, task.manifest, trainer, state.weights)
        results = Results(
            rounds=list(state.rows),
            final={
                **final_rates(state),
                "complete": not early,
                "secs": time.monotonic() - began,
                "usage": usage.as_dict(),
                "partition": partition,
            },
            config=describe(trial, task.manifest, len(population.client_ids)),
        )
        if early:  # by a callback, which the digest does not know: the next command resumes it
            save_state(self.directory, state)
        outcome = self._ended(results, state.evaluations, finished=not early)
        if not early:
            (self.directory / STATE_FILE).unlink(missing_ok=True)
        return outcome

    def _train(
        self, training: Training, task: TrainingTask, clients: int
    ) -> tuple[FederationState, bool]:
        """The last state, and whether a callback ended the run."""
        self._told.noted("read the corpus")
        state = load_state(self.directory)
        if state is None:
            state = training.start(task.initial_weights(self.trial.seed))
        config = describe(self.trial, task.manifest, clients)
        self._told.began(
            RunInfo(
                self.trial.name,
                training.rounds,
                state.number,
                config,
                self.directory,
                state.number > 0,
            )
        )
        return run_rounds(
            training,
            state,
            self._told,
            is_over=partial(is_over, self.trial),
            save=partial(save_state, self.directory),
        )

    def _run_on_phones(self, task: TrainingTask, usage: CorpusUsage) -> Outcome:
        from fedvoice.laboratory.experiment.phones import (
            simulate_trial,  # a server's and a phone's modules
        )

        rounds = self.trial.server.rounds
        following: Following | None = None
        warned = False

        def observe(books: Books, config: Mapping[str, Any], *, last: bool = False) -> None:
            nonlocal following, warned
            if following is None:
                info = RunInfo(
                    self.trial.name,
                    rounds,
                    config=config,
                    folder=self.directory,
                    resumed=bool(books.rounds),
                )
                self._told.began(info)
                following = Following(self._told, rounds)
            if following.show(books, last=last) and not last and not warned:
                warned = True
                _log.warning("%s: emulated phones go on to the last round", self.trial.name)

        results, evaluations = simulate_trial(
            self.trial, task, usage, self.directory, observe, self.spread.workers
        )
        see_that_updates_count(f"trial {self.trial.name}", results.rounds, {})
        return self._ended(results, evaluations)

    def _ended(
        self, results: Results, evaluations: Evaluations, *, finished: bool = True
    ) -> Outcome:
        outcome = write_outcome(self.trial, self.directory, results, evaluations, finished=finished)
        self._told.ended(results)
        return outcome
