"""`fedvoice.simulate`: federated training of one model in this process, or with workers."""

from __future__ import annotations

import atexit
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedvoice.algorithm.settings import AlgorithmConfig
from fedvoice.arguments import Plugin, algorithm_config, callbacks_of, table_of, training_plan
from fedvoice.data.dataset import Dataset, identity_of
from fedvoice.data.memory import MappingDataset, Pair
from fedvoice.data.partitioning import PARTITIONS, version_of
from fedvoice.model_export.config import ExportConfig
from fedvoice.model_export.kinds import MODEL_KINDS
from fedvoice.protocol.engine import Example
from fedvoice.protocol.errors import ErrorCode, FedvoiceError, make_folder
from fedvoice.protocol.files import hold_lock, write_file
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import (
    MANIFEST_FILE,
    WEIGHTS_FILE,
    TaskManifest,
    load_weights,
    parse_manifest,
    save_weights,
)
from fedvoice.reporting.callbacks import Callback, Callbacks, RunInfo
from fedvoice.reporting.results import RESULTS_FILE, Results, read_results
from fedvoice.simulation.abandoned import see_that_updates_count
from fedvoice.simulation.checkpoint import STATE_FILE, load_state, save_state
from fedvoice.simulation.engines import ENGINES, Driver, TrainerSpec
from fedvoice.simulation.federation import Federation, FederationState
from fedvoice.simulation.populations import build_population, export_config, see_partition
from fedvoice.simulation.quality import judged
from fedvoice.simulation.tasks import TrainingTask, exported_task, unexported_task
from fedvoice.simulation.training import rates_of, run_rounds
from fedvoice.simulation.transcripts import keep_transcripts
from fedvoice.simulation.usage import check_usable, usage_of
from fedvoice.simulation.workers.spread import Spread

if TYPE_CHECKING:
    from torch import nn

_log = logging.getLogger("fedvoice.run")

RUN_FILE = "run.json"
LOCK_FILE = "run.lock"


@dataclass(frozen=True)
class Simulation:
    """A run that has come to its end.

    weights: float32 [P], by the parameter table of `manifest`. rates: error rates in percent at the
    last evaluation: `wer` (test examples of clients that train), `heldout_wer` (of others),
    `pooled`; of words, or of labels. `cer`, `heldout_cer`, `pooled_cer`: of the characters of the
    same transcripts; absent for labels.
    """

    results: Results
    weights: FlatVector
    manifest: TaskManifest
    rates: Mapping[str, float]

    @property
    def cfmq_bytes(self) -> float:
        """What the run cost: bytes moved + memory x steps (alpha = 1)."""
        rounds = self.results.rounds
        last = rounds[-1] if rounds else None
        return last.cfmq_communication_bytes + last.cfmq_compute_bytes if last else 0.0

    def module(self) -> nn.Module:
        """The trained model as a PyTorch module."""
        from fedvoice.model_export.fresh import model_with

        return model_with(self.manifest, self.weights)


def simulate(
    dataset: Dataset | Mapping[str, Sequence[Pair | Example]],
    model: Plugin = "rnnt",
    *,
    rounds: int = 100,
    cohort_size: int = 10,
    plan: TrainingPlan | Mapping[str, Any] | None = None,
    client_rule: Plugin | None = None,
    optimizer: Plugin | None = None,
    links: Sequence[Plugin] = (),
    algorithm: Mapping[str, Any] | None = None,
    task: Mapping[str, Any] | None = None,
    partition: str | Callable[..., Any] | None = None,
    engine: str = "fast",
    workers: int = 1,
    callbacks: Sequence[Callback | Plugin] = (),
    seed: int = 0,
    name: str = "simulation",
    out: Path | str | None = None,
    allow_skipped: bool = False,
) -> Simulation:
    """Train one model on clients' examples by federated averaging, without phones.

    Args:
        dataset: client id -> examples, (array float32 [frames, bins] or waveform [samples], text or
            token ids); or a `Dataset`.
        model: a model kind by name, a table `{kind, ...settings}`, or an `nn.Module` class with a
            `loss` (`module_kind`).
        rounds: R. cohort_size: K, clients a round.
        plan: how a client trains, e.g. `{"client_rate": 0.1, "batch_size": 8}`.
        client_rule: how a client steps in place of SGD, e.g. `{"name": "sgd", "rate": 0.1}`, or a
            class of one's own; `plan`'s client_rate and client_momentum mean nothing to it.
        optimizer: the server's, e.g. `{"name": "adam", "rate": 0.01}`, or a class of one's own.
        links: what stands between a client's update and the sum, in order.
        algorithm: further settings of `AlgorithmConfig`, e.g. `{"evaluate_every": 10}`; by default
            the model is evaluated at the end.
        task: tables `features`, `vocabulary`, `buckets`, where the dataset's own do not suit.
        partition: assigns the examples anew, e.g. "iid"; None: as the dataset says.
        engine: "fast" (batched PyTorch), "executorch" (what phones run), or one's own.
        workers: processes that share the clients of a round; what is plugged in must be importable.
        callbacks: told of every round; one that returns True ends the run there.
        out: folder of results.json, weights and a checkpoint, from which a run that was stopped, or
            that a callback ended, is resumed. None: nothing is kept. It is locked while the run
            lasts; the lock of a process that dies is free at once.
        allow_skipped: go on though over a tenth of the examples is unusable.

    Raises:
        FedvoiceError: `bad-config`, `bad-plugin`, `exists` if `out` holds another run, or
            another call runs in it now, and what reading, exporting and training raise.
    """
    corpus = MappingDataset(dataset) if isinstance(dataset, Mapping) else dataset
    if ENGINES.get(engine).driver is not Driver.COHORTS:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where="simulate, engine",
            got=engine,
            wanted="an engine that trains cohorts, such as fast or executorch",
            next_step="For emulated phones use `fedvoice simulate`; for one place, experiments.",
        )
    partition_name = None if partition is None else PARTITIONS.name_of(partition)
    run = _Run(
        name,
        seed,
        corpus,
        export_config(
            corpus, {"model": table_of(MODEL_KINDS, model, "kind"), **(task or {})}, name
        ),
        algorithm_config(rounds, cohort_size, optimizer, links, seed, algorithm or {}),
        training_plan(plan, client_rule, seed),
        engine,
        partition_name,
        None if out is None else Path(out),
    )
    told = Callbacks(callbacks_of(callbacks))
    with run.held():
        kept = run.claim()
        return kept if kept is not None else _trained(run, told, workers, allow_skipped)


def _trained(run: _Run, told: Callback, workers: int, allow_skipped: bool) -> Simulation:
    """The run's result, from its checkpoint or its beginning."""
    began, made = time.monotonic(), run.make_task(told)
    # Workers know a registered partition by the module that it is in.
    partition = run.partition
    if partition is not None and workers > 1:
        partition = PARTITIONS.travelling(partition)
    source = partial(build_population, run.dataset, made.manifest, run.seed, partition=partition)
    population = source()
    usage = usage_of(population.clients, made.manifest, told.noted)
    for line in usage.lines():
        told.stated(line)
    if usage.whole.skipped or usage.warnings:
        _log.warning("%s: %s", run.name, "; ".join(usage.lines()))
    check_usable(usage, f"the examples of {run.name}", allow_skipped=allow_skipped)
    spec = TrainerSpec(run.engine, made.manifest, made.package_dir, frozen=made.frozen)
    trainer = spec.make()
    shares = see_partition(population, told.stated, run.algorithm)
    judge = partial(judged, trainer, made.manifest, population)
    with closing(Spread(workers).pool_for(spec, source, trainer, population)) as pool:
        federation = Federation(
            run.name,
            made.manifest,
            population.client_ids,
            run.plan,
            run.algorithm,
            pool,
            judge,
            population.size,
        )
        state = run.checkpoint() or federation.start(made.initial_weights(run.seed))
        done = state.number
        info = RunInfo(run.name, federation.rounds, done, run.config(), run.folder, done > 0)
        told.began(info)
        state, ended_early = run_rounds(federation, state, told, save=run.save)
        run.save(state)
    see_that_updates_count(run.name, state.rows, state.refused)
    if run.folder is not None:
        keep_transcripts(run.folder, population, made.manifest, trainer, state.weights)
    secs = time.monotonic() - began
    found = run.end(
        state,
        made.manifest,
        {"usage": usage.as_dict(), "partition": shares},
        secs,
        complete=not ended_early,
    )
    told.ended(found.results)
    return found


@dataclass(frozen=True)
class _Run:
    """What decides a run, and the folder that it is kept in, if any."""

    name: str
    seed: int
    dataset: Dataset
    export: ExportConfig
    algorithm: AlgorithmConfig
    plan: TrainingPlan
    engine: str
    partition: str | None
    folder: Path | None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the folder to this call.

        Raises:
            FedvoiceError: `exists` if another one has it now.
        """
        if self.folder is None:
            yield
            return
        make_folder(self.folder)
        with hold_lock(
            self.folder / LOCK_FILE,
            got="another process runs in this folder",
            wanted="one run a folder at a time",
            next_step="Wait for its end: the same call then returns its result. Or choose another "
            "`out`.",
        ):
            yield

    def claim(self) -> Simulation | None:
        """Take the folder; what an earlier call came to there, if it came to its end.

        Raises:
            FedvoiceError: `exists` if it holds something else.
        """
        if self.folder is None:
            return None
        marker, wanted = self.folder / RUN_FILE, json.dumps(self._identity(), sort_keys=True)
        others = {file.name for file in self.folder.iterdir()} - {LOCK_FILE}
        if not marker.is_file() and others:
            raise self._taken("other files")
        if marker.is_file() and marker.read_text(encoding="utf-8") != wanted:
            raise self._taken("a run of other settings or examples")
        write_file(marker, wanted)
        if not (self.folder / RESULTS_FILE).is_file():
            return None
        results = read_results(self.folder)
        if not results.final["complete"]:
            return None
        manifest = parse_manifest((self.folder / MANIFEST_FILE).read_bytes(), str(self.folder))
        weights = load_weights(self.folder / WEIGHTS_FILE, manifest.parameters)
        return Simulation(results, weights, manifest, results.final["rates"])

    def make_task(self, told: Callback) -> TrainingTask:
        """The task: exported where the engine runs programs."""
        if not ENGINES.get(self.engine).needs_package:
            return unexported_task(self.export)
        parent = None if self.folder is None else self.folder / "tasks"
        if parent is None:
            parent = Path(tempfile.mkdtemp(prefix="fedvoice-tasks-"))
            atexit.register(shutil.rmtree, parent, ignore_errors=True)
        return exported_task(self.export, parent, lambda what: told.noted(f"export: {what}"))

    def checkpoint(self) -> FederationState | None:
        """Where an earlier call stopped."""
        return None if self.folder is None else load_state(self.folder)

    def save(self, state: FederationState) -> None:
        """Keep a state to resume from."""
        if self.folder is not None:
            save_state(self.folder, state)

    def end(
        self,
        state: FederationState,
        manifest: TaskManifest,
        seen: Mapping[str, Any],
        secs: float,
        *,
        complete: bool,
    ) -> Simulation:
        """The run's result, written into its folder; `seen`: what was said of its corpus. A run
        that a callback ended keeps its checkpoint: the same call resumes it."""
        numbers = sorted(state.evaluations)
        rates = rates_of(state.evaluations[numbers[-1]]) if numbers else {}
        results = Results(
            rounds=list(state.rows),
            final={
                "wer": rates.get("wer"),
                "heldout_wer": rates.get("heldout_wer"),
                "cer": rates.get("cer"),
                "heldout_cer": rates.get("heldout_cer"),
                "rates": rates,
                "rounds": state.number,
                "refused": dict(state.refused),
                "complete": complete,
                "secs": secs,
                **seen,
            },
            config=self.config(),
        )
        if self.folder is not None:
            write_file(self.folder / MANIFEST_FILE, manifest.model_dump_json(indent=1))
            save_weights(self.folder / WEIGHTS_FILE, state.weights, manifest.parameters)
            results.write(self.folder)
            if complete:
                (self.folder / STATE_FILE).unlink(missing_ok=True)
        return Simulation(results, state.weights, manifest, rates)

    def config(self) -> dict[str, Any]:
        """The `config` of the run's results."""
        return {"name": self.name, "alpha": self.algorithm.alpha, **self._identity()}

    def _identity(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "seed": self.seed,
            "data": identity_of(self.dataset),
            "partition": self.partition,
            **({} if self.partition is None else version_of(self.partition)),
            "task": self.export.model_dump(mode="json"),
            "algorithm": self.algorithm.model_dump(mode="json"),
            "plan": self.plan.model_dump(mode="json"),
            "engine": self.engine,
        }

    def _taken(self, got: str) -> FedvoiceError:
        return FedvoiceError(
            ErrorCode.EXISTS,
            where=str(self.folder),
            got=got,
            wanted="an empty folder, or a run of the same settings and examples",
            next_step="Choose another `out`, or delete the folder.",
        )
