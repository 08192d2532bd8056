"""A tiny task package without a real program, and a phone that speaks the protocol by hand.

The server never interprets the program, so any bytes will do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np

from fedvoice.protocol.codec import CHUNK_BYTES, digest_of, encode
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.generated import fedvoice_pb2_grpc
from fedvoice.protocol.parameters import FlatVector, ParameterTable
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import (
    WEIGHTS_FILE,
    Bucket,
    FeatureSettings,
    TaskManifest,
    TaskPackage,
    save_weights,
    write_package,
)
from fedvoice.protocol.vocabulary import Vocabulary
from fedvoice.server.app import AggregationServer
from fedvoice.server.config import RetryConfig, ServerConfig

PROGRAM = b"a program that nobody runs"
QUICK = RetryConfig(least_secs=0.01, most_secs=0.05)


def make_package(
    directory: Path,
    size: int = 8,
    plan: TrainingPlan | None = None,
    names: Sequence[str] = ("w",),
) -> TaskPackage:
    """A package of `size` floats, initially 0, 1, 2, ..., dealt evenly to parameters of these
    names; each has a multiple of 4."""
    table = ParameterTable.from_shapes([(name, (size // len(names),)) for name in names])
    directory.mkdir(parents=True, exist_ok=True)
    save_weights(directory / WEIGHTS_FILE, np.arange(size, dtype=np.float32), table)
    manifest = TaskManifest(
        name="tiny",
        model_kind="ctc",
        model={},
        parameters=table,
        features=FeatureSettings(),
        buckets=(Bucket(name="s", frames=4, labels=2, batch=1),),
        vocabulary=Vocabulary.from_words(["no", "yes"]),
        plan=plan or TrainingPlan(),
        program_digest=digest_of(PROGRAM),
        weights_digest=digest_of((directory / WEIGHTS_FILE).read_bytes()),
    )
    return write_package(directory, manifest, PROGRAM)


def quick_config(**fields: object) -> ServerConfig:
    """Settings for tests: a free port, short waits."""
    return ServerConfig.model_validate(
        {"bind": "127.0.0.1:0", "insecure": True, "retry": QUICK}
        | {"optimizer": {"momentum": 0.0, "rate": 1.0}}
        | fields
    )


def statistics(examples: int = 1, **fields: float) -> pb.Statistics:
    """Valid statistics of a training report."""
    return pb.Statistics(
        **(
            {"examples": examples, "steps": examples, "loss": 1.5, "train_secs": 0.1}
            | {"planned_memory_bytes": 1000, "peak_memory_bytes": 2000}
            | fields
        )
    )


@dataclass
class Phone:
    """One client over a real socket. `delta` stands for what training would give."""

    address: str
    client_id: str
    train_examples: int = 1
    test_examples: int = 0
    conditions: dict[str, bool] = field(
        default_factory=lambda: {"charging": True, "idle": True, "unmetered": True}
    )

    def __post_init__(self) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]
        self.channel = grpc.insecure_channel(self.address, options=options)
        self.stub = fedvoice_pb2_grpc.AggregationStub(self.channel)
        self.cache: dict[str, bytes] = {}

    def check_in(self) -> pb.CheckInReply:
        return self.stub.CheckIn(
            pb.CheckInRequest(
                client_id=self.client_id,
                capabilities=pb.Capabilities(
                    protocol_version=1,
                    train_examples=self.train_examples,
                    test_examples=self.test_examples,
                ),
                conditions=pb.Conditions(**self.conditions),
                cached_digests=list(self.cache),
            ),
            timeout=20,
        )

    def wait_for_work(self, timeout_secs: float = 20.0) -> pb.Assignment | None:
        """Check in as told until there is work; None when the server has finished."""
        end = time.monotonic() + timeout_secs
        while time.monotonic() < end:
            reply = self.check_in()
            if reply.HasField("assignment"):
                return reply.assignment
            if reply.retry.finished:
                return None
            time.sleep(reply.retry.min_secs)
        raise TimeoutError(f"no work for {self.client_id}")

    def fetch(self, digest: str, assignment_id: str = "", offset: int = 0) -> bytes:
        request = pb.FetchRequest(
            digest=digest, offset=offset, client_id=self.client_id, assignment_id=assignment_id
        )
        return b"".join(chunk.data for chunk in self.stub.Fetch(request, timeout=60))

    def header(
        self, assignment: pb.Assignment, payload: bytes, encoding: str = "float32"
    ) -> pb.ReportHeader:
        return pb.ReportHeader(
            client_id=self.client_id,
            assignment_id=assignment.assignment_id,
            report_id=f"report-{assignment.assignment_id}",
            round=assignment.round,
            payload=pb.Blob(
                digest=digest_of(payload) if payload else "",
                size_bytes=len(payload),
                encoding=encoding if payload else "",
            ),
            statistics=statistics(),
        )

    def send(self, header: pb.ReportHeader, payload: bytes) -> pb.ReportReply:
        """`payload` from the header's offset on."""

        def messages() -> Iterator[pb.ReportRequest]:
            yield pb.ReportRequest(header=header)
            for start in range(header.offset, len(payload), CHUNK_BYTES):
                data = payload[start : start + CHUNK_BYTES]
                yield pb.ReportRequest(chunk=pb.Chunk(data=data))

        return self.stub.Report(messages(), timeout=60)

    def report_delta(
        self, assignment: pb.Assignment, delta: FlatVector, examples: int = 1, **fields: float
    ) -> pb.ReportReply:
        payload = encode(delta, "float32")
        header = self.header(assignment, payload)
        header.statistics.CopyFrom(statistics(examples, **fields))
        return self.send(header, payload)

    def report_evaluation(
        self, assignment: pb.Assignment, word_errors: int, words: int, **characters: int
    ) -> pb.ReportReply:
        """characters: char_errors and chars; phones of 0.1.0 send none."""
        header = self.header(assignment, b"")
        header.statistics.CopyFrom(
            pb.Statistics(word_errors=word_errors, words=words, utterances=words, **characters)
        )
        return self.send(header, b"")

    def work_until_finished(self, delta_of: Callable[[pb.Assignment], FlatVector]) -> int:
        """Do what the server asks for until it has finished; pieces of work done."""
        done = 0
        while (assignment := self.wait_for_work()) is not None:
            for blob in (assignment.program, assignment.manifest, assignment.weights):
                if blob.digest not in self.cache:
                    self.cache[blob.digest] = self.fetch(blob.digest, assignment.assignment_id)
            if assignment.work == pb.WORK_TRAIN:
                self.report_delta(assignment, delta_of(assignment), self.train_examples)
            else:
                self.report_evaluation(assignment, 1, 4)
            done += 1
        return done

    def close(self) -> None:
        self.channel.close()


class Lab:
    """Servers and phones of one test; all are stopped at its end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.servers: list[AggregationServer] = []
        self.phones: list[Phone] = []

    def package(self, size: int = 8, plan: TrainingPlan | None = None) -> TaskPackage:
        return make_package(self.directory / "task", size, plan)

    def serve(
        self, package: TaskPackage, store: str = "store", **fields: object
    ) -> tuple[AggregationServer, str]:
        server = AggregationServer(quick_config(**fields), package, self.directory / store)
        self.servers.append(server)
        return server, server.start()

    def phone(self, address: str, client_id: str, **fields: object) -> Phone:
        phone = Phone(address, client_id, **fields)  # type: ignore[arg-type]
        self.phones.append(phone)
        return phone

    def start_phones(
        self, phones: list[Phone], delta_of: Callable[[Phone, pb.Assignment], FlatVector]
    ) -> Callable[[], None]:
        """All phones at once, to the end; the result waits for them and raises what they raised."""
        failures: list[BaseException] = []

        def work(phone: Phone) -> None:
            try:
                phone.work_until_finished(lambda assignment: delta_of(phone, assignment))
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(phone,)) for phone in phones]
        for thread in threads:
            thread.start()

        def join() -> None:
            for thread in threads:
                thread.join()
            if failures:
                raise failures[0]

        return join

    def close(self) -> None:
        for phone in self.phones:
            phone.close()
        for server in self.servers:
            server.stop(grace_secs=0.2)
