"""The work of one assignment on a phone: examples and weights in, a report out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from fedvoice.device_runtime.checkpoint import Checkpoint
from fedvoice.device_runtime.engines import LoadedEngine
from fedvoice.device_runtime.evaluation import evaluate
from fedvoice.device_runtime.examples import FeatureCache, LocalExamples
from fedvoice.device_runtime.outbox import PendingReport
from fedvoice.device_runtime.store import ExampleStore, Split
from fedvoice.device_runtime.trainer import TrainingStatus, train
from fedvoice.protocol.codec import digest_of, encode
from fedvoice.protocol.errors import FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.plan import TrainingPlan

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhoneWork:
    """One assignment, installed: weights float32 [P] and the engine that takes them."""

    client_id: str
    assignment: pb.Assignment
    loaded: LoadedEngine
    weights: FlatVector
    said: list[str] = field(default_factory=list)
    """What was last said of the phone's examples; the phone keeps it from round to round."""

    def say(self, examples: LocalExamples) -> None:
        """Log how many examples are used if any is left out, and again when that changes."""
        told = examples.usage.describe()
        if (examples.skipped or self.said) and told not in self.said:
            self.said[:] = [told]
            _log.info("%s: %s", self.client_id, told)


def perform(
    work: PhoneWork,
    store: ExampleStore,
    features: FeatureCache,
    checkpoint: Checkpoint | None,
    should_stop: Callable[[], bool],
) -> PendingReport | None:
    """Train or evaluate; None if `should_stop` ended it."""
    if work.assignment.work == pb.WORK_EVALUATE:
        return _evaluate(work, store, features, should_stop)
    return _train(work, store, features, checkpoint, should_stop)


def _train(
    work: PhoneWork,
    store: ExampleStore,
    features: FeatureCache,
    checkpoint: Checkpoint | None,
    should_stop: Callable[[], bool],
) -> PendingReport | None:
    plan = TrainingPlan.from_message(work.assignment.plan)
    engine, round_number = work.loaded.engine, work.assignment.round
    examples = LocalExamples(engine, store, store.examples(Split.TRAIN), features)
    work.say(examples)
    result = train(
        engine,
        examples,
        plan,
        work.weights,
        client_id=work.client_id,
        round_number=round_number,
        checkpoint=checkpoint,
        should_stop=should_stop,
        memory_baseline_bytes=work.loaded.memory_baseline_bytes,
    )
    if result.status is TrainingStatus.STOPPED:
        return None
    result.statistics.skipped_examples += examples.skipped
    if result.delta is None:
        _log.warning("%s: %s, %s", work.client_id, result.status, result.detail)
        return give_up(work.client_id, work.assignment, result.statistics.skipped_examples)
    try:
        payload = encode(result.delta, plan.update_encoding)
    except FedvoiceError as error:
        _log.warning("%s: %s", work.client_id, error)
        return give_up(work.client_id, work.assignment, result.statistics.skipped_examples)
    store.mark_used([examples.rows[i].id for i in result.used], round_number)
    return _report(
        work.client_id, work.assignment, result.statistics, payload, plan.update_encoding
    )


def _evaluate(
    work: PhoneWork,
    store: ExampleStore,
    features: FeatureCache,
    should_stop: Callable[[], bool],
) -> PendingReport | None:
    engine = work.loaded.engine
    examples = LocalExamples(engine, store, store.examples(Split.TEST), features)
    statistics = evaluate(
        engine,
        examples,
        work.weights,
        should_stop=should_stop,
        memory_baseline_bytes=work.loaded.memory_baseline_bytes,
    )
    if statistics is None:
        return None
    statistics.skipped_examples += examples.skipped
    if statistics.utterances == 0:
        return give_up(work.client_id, work.assignment, statistics.skipped_examples)
    return _report(work.client_id, work.assignment, statistics, b"", "")


def give_up(client_id: str, assignment: pb.Assignment, skipped_examples: int) -> PendingReport:
    """A report of no work done: the server refuses it and gives the place away at once, instead
    of waiting for the lease to run out."""
    nothing_done = pb.Statistics(skipped_examples=skipped_examples)
    return _report(client_id, assignment, nothing_done, b"", "")


def _report(
    client_id: str,
    assignment: pb.Assignment,
    statistics: pb.Statistics,
    payload: bytes,
    encoding: str,
) -> PendingReport:
    # Derived, not drawn: a process that repeats the work after a crash reports it under the
    # same name, and it cannot count twice.
    report_id = digest_of(f"{client_id}|{assignment.assignment_id}".encode())[:32]
    header = pb.ReportHeader(
        client_id=client_id,
        assignment_id=assignment.assignment_id,
        report_id=report_id,
        round=assignment.round,
        payload=pb.Blob(
            digest=digest_of(payload) if payload else "",
            size_bytes=len(payload),
            encoding=encoding,
        ),
        statistics=statistics,
    )
    return PendingReport(header, payload)
