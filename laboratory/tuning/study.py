"""The search: Optuna proposes plans, worker processes run them and return two objectives.

The study is a SQLite file, and its trials are stored among those of experiments. An interrupted
search resumes: running trials are started again, finished ones are not, and new points are
proposed. One process at a time searches in a folder (`held`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from optuna.trial import Trial as Proposal

from fedvoice.laboratory.experiment.config import ExperimentConfig
from fedvoice.laboratory.experiment.executor import Ended, Executor, Said, TrialJob, Work
from fedvoice.laboratory.experiment.kept import read_outcome
from fedvoice.laboratory.experiment.local_executor import LocalExecutor
from fedvoice.laboratory.experiment.outcome import Outcome
from fedvoice.laboratory.experiment.progress import Pruned, TrialProgress, trial_dir
from fedvoice.laboratory.experiment.trials import Metric, Trial
from fedvoice.laboratory.tuning.attempts import DEATHS_AT_MOST, Attempt, worker_lost
from fedvoice.laboratory.tuning.config import Dimension, TuningConfig
from fedvoice.laboratory.tuning.points import ERROR, Points, distributions
from fedvoice.laboratory.tuning.pruning import MedianRule, median_rule
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.files import hold_lock

STUDY_FILE = "study.db"
LOCK_FILE = "study.lock"
"""Empty, and never removed."""
_OF = "search"
"""The study's attribute that identifies its search."""
_FAILURES_AT_MOST = 10
"""Failed trials in a row that end a search; failed trials do not count as tried."""


def figure_of(outcome: Outcome, metric: Metric) -> float:
    """A trial's error rate in percent.

    Raises:
        FedvoiceError: `bad-config` if it has none, since then no trial of the search has one.
    """
    figure = outcome.figure(metric)
    if figure is None:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=f"search, metric {metric}",
            got=f"a trial without an evaluation of it: {outcome.trial.name}",
            wanted="an error rate of every trial",
            next_step="Set server.evaluate_every. Rates of held-out speakers need some held out, "
            "rates of characters a task that recognises speech.",
        )
    return figure


def held(out: Path) -> IO[bytes]:
    """Keep a search's folder to this process until the file is closed, or the process ends.

    Raises:
        FedvoiceError: `exists` if another search is at work in it.
    """
    out.mkdir(parents=True, exist_ok=True)
    return hold_lock(
        out / LOCK_FILE,
        got="another process searches in this folder",
        wanted="one search a folder at a time",
        next_step="Wait for its end: the same command then goes on from there. Or choose another "
        "--out.",
    )


class Search:
    """One search below `out`, a folder that is `held`; its trials are stored among those of
    experiments.

    Raises:
        FedvoiceError: `bad-config` if another search is there.
    """

    def __init__(
        self,
        config: TuningConfig,
        out: Path,
        trials_dir: Path,
        where: str,
        work: Work | None = None,
        *,
        allow_skipped: bool = False,
    ) -> None:
        self.config, self._trials_dir, self._where, self._work = config, trials_dir, where, work
        self.allow_skipped = allow_skipped
        out.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        search = config.search
        self._distributions = distributions(search.space)
        self.study = optuna.create_study(
            study_name=config.name,
            storage=f"sqlite:///{(out / STUDY_FILE).absolute()}",
            load_if_exists=True,
            directions=["minimize", "minimize"],
        )
        self._claim(out)
        # A resumed sampler that drew the same numbers would propose the same points.
        self._points = Points(self.study, self._distributions, search.seed + self._proposed)
        self.study.sampler = self._points.sampler
        if not self.study.trials:
            for point in search.known:
                self.study.enqueue_trial(dict(point))
        for proposal in self.study.get_trials(states=(TrialState.RUNNING,)):
            # Its process has died: the same point is tried again.
            self.study.enqueue_trial(
                proposal.system_attrs.get("fixed_params") or proposal.params,
            )
            self.study.tell(proposal.number, state=TrialState.FAIL)
        self.outcomes: dict[int, Outcome] = {}
        self._failed_in_a_row = 0
        for proposal in self.study.get_trials(states=(TrialState.COMPLETE,)):
            trial = self.trial(proposal.params, search.trial_seed)
            outcome = read_outcome(trial, trial_dir(trials_dir, trial))
            if outcome is not None:
                self.outcomes[proposal.number] = outcome

    def trial(self, point: dict[str, Any], seed: int, arm: str = "trial") -> Trial:
        """The trial of `point`.

        Raises:
            FedvoiceError: `bad-config` naming the setting.
        """
        fields: dict[str, Any] = {"name": arm, "set": point}
        experiment = ExperimentConfig.model_validate(
            {"name": self.config.name, "seeds": [seed], "base": self.config.base, "arms": [fields]}
        )
        return experiment.trials(self._where)[0]

    def run(
        self,
        jobs: int,
        tell: Callable[[int, str], None],
        progressed: Callable[[TrialProgress], None],
    ) -> None:
        """Run trials until the study has the wanted number of finished ones, or every point of the
        space.

        A trial whose worker died is retried by another.

        Raises:
            KeyboardInterrupt: after workers have written checkpoints.
            FedvoiceError: the error of the first trial, or of the last of many that fail in a row;
                other failures count as failed trials. `client-lost` for a trial whose workers die
                repeatedly. `bad-config` for trials without the metric of the search.
        """
        with closing(LocalExecutor(jobs, work=self._work)) as executor:
            self._export(executor)
            self._try_points(executor, tell, progressed)

    def _export(self, executor: Executor) -> None:
        """Export the task that all points share, before any of them."""
        first = self.trial(self._some_point(), self.config.search.trial_seed)
        for _ in range(DEATHS_AT_MOST):
            executor.begin(
                TrialJob(
                    first, self._trials_dir, export_only=True, allow_skipped=self.allow_skipped
                )
            )
            while not (ended := [e for e in executor.events() if isinstance(e, Ended)]):
                pass
            if ended[0].error is not None:
                raise ended[0].error
            if not ended[0].lost:
                return
        raise worker_lost("the workers of a search, before any trial")

    def _try_points(
        self,
        executor: Executor,
        tell: Callable[[int, str], None],
        progressed: Callable[[TrialProgress], None],
    ) -> None:
        wanted = self.config.search.trials
        at_work: dict[TrialJob, Attempt] = {}

        def begin(attempt: Attempt) -> None:
            job = TrialJob(
                attempt.trial,
                self._trials_dir,
                prune=self._rule(),
                allow_skipped=self.allow_skipped,
            )
            at_work[job] = attempt
            executor.begin(job)

        exhausted = False
        while at_work or (self.finished < wanted and not exhausted):
            while executor.free and not exhausted and self.finished + len(at_work) < wanted:
                asked = self._ask()
                exhausted = asked is None
                if asked is not None:
                    begin(Attempt(*asked))
            if not at_work:
                break
            for event in executor.events():
                if isinstance(event, Said):
                    progressed(event.progress)
                    continue
                attempt = at_work.pop(event.job)
                attempt.deaths += event.lost
                if not event.lost:
                    tell(attempt.number, self._collect(attempt, event))
                elif attempt.hopeless:
                    lost = worker_lost(f"trial {attempt.number}")
                    tell(attempt.number, self._failed(attempt.proposal, lost))
                else:
                    begin(attempt)

    def best(self) -> FrozenTrial | None:
        """The finished trial with the lowest error; the cheaper of equals."""
        done = self.study.get_trials(states=(TrialState.COMPLETE,))
        return min(done, key=lambda t: (t.values[0], t.values[1])) if done else None

    def _claim(self, out: Path) -> None:
        """Only trials of the same corpus, base and metric may be compared."""
        some = self.trial(self._some_point(), self.config.search.trial_seed)
        mine = f"{self.config.metric} {some.digest}"
        if self.study.user_attrs.get(_OF, mine) != mine:
            raise FedvoiceError(
                ErrorCode.BAD_CONFIG,
                where=str(out / STUDY_FILE),
                got="trials of another corpus, base, metric, hand-set plan or version",
                wanted="those of this search, or none",
                next_step="Choose another --out, or delete the study: finished trials are kept.",
            )
        self.study.set_user_attr(_OF, mine)

    def _ask(self) -> tuple[Proposal, Trial] | None:
        """The next point: one in the queue, or a new one; None if all have been tried."""
        if not self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            point = self._points.new()
            if point is None:
                return None
            self.study.enqueue_trial(point)
        proposal = self.study.ask(fixed_distributions=self._distributions)
        return proposal, self.trial(proposal.params, self.config.search.trial_seed)

    def _collect(self, attempt: Attempt, event: Ended) -> str:
        proposal, error = attempt.proposal, event.error
        if isinstance(error, Pruned):
            self.study.tell(proposal, state=TrialState.PRUNED)
            return f"pruned after round {error.round_number}"
        if isinstance(error, FedvoiceError) and error.code is ErrorCode.NO_UPDATES:
            # A result of the point, not an accident: the sampler learns to avoid it.
            self.study.tell(proposal, state=TrialState.PRUNED)
            return f"pruned, {error}"
        if isinstance(error, FedvoiceError):
            return self._failed(proposal, error)
        if error is not None:
            raise error
        outcome = event.outcome
        assert outcome is not None, "only an interrupt stops a trial"
        figure = figure_of(outcome, self.config.metric)
        cost = outcome.points[-1].cfmq_bytes
        self.outcomes[proposal.number] = outcome
        proposal.set_user_attr("trial", trial_dir(self._trials_dir, attempt.trial).name)
        self.study.tell(proposal, [figure, cost])
        self._failed_in_a_row = 0
        return f"{figure:.2f} % at {cost / 1e9:.2f} GB"

    def _failed(self, proposal: Proposal, error: FedvoiceError) -> str:
        self._failed_in_a_row += 1
        if not self.outcomes or self._failed_in_a_row > _FAILURES_AT_MOST:
            raise error
        proposal.set_user_attr(ERROR, str(error))
        self.study.tell(proposal, state=TrialState.FAIL)
        return f"failed, {error}"

    def _rule(self) -> MedianRule | None:
        if len(self.outcomes) < self.config.search.prune_after:
            return None
        return median_rule(list(self.outcomes.values()), self.config.metric)

    @property
    def finished(self) -> int:
        """Number of finished trials, pruned ones included."""
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        return len(self.study.get_trials(deepcopy=False, states=states))

    def _some_point(self) -> dict[str, Any]:
        search = self.config.search
        if search.known:
            return dict(search.known[0])
        return {
            name: d.choices[0] if d.choices else _number(d, d.low or 0.0)
            for name, d in search.space.items()
        }

    @property
    def _proposed(self) -> int:
        """Number of points that were ever proposed, those of failed and stopped trials too."""
        return len(self.study.get_trials(deepcopy=False))


def _number(dimension: Dimension, value: float) -> int | float:
    return int(value) if dimension.integer else value
