"""A real server process for benchmarks, and what it uses of the machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedvoice.protocol.codec import digest_of
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.parameters import ParameterTable
from fedvoice.protocol.task import (
    WEIGHTS_FILE,
    Bucket,
    FeatureSettings,
    TaskManifest,
    save_weights,
    write_package,
)
from fedvoice.protocol.vocabulary import Vocabulary

PROGRAM = b"not run here"
CHANNEL_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]


@dataclass(frozen=True)
class Served:
    """A running server."""

    address: str
    pid: int

    @property
    def cpu_secs(self) -> float:
        """User and system time of the process so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def peak_bytes(self) -> int:
        """Its largest resident set so far."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return 0


@contextmanager
def serving(
    directory: Path, size: int, settings: str, *, updates: int, rounds: int, tls: bool = False
) -> Iterator[Served]:
    """`fedvoice serve` with a model of `size` floats; its store is `directory`/store.

    Args:
        settings: TOML. updates: of a round.
    """
    write_task(directory / "task", size)
    (directory / "server.toml").write_text(settings)
    command = [sys.executable, "-m", "fedvoice", "serve", "--task", directory / "task"]
    command += ["--store", directory / "store", "--config", directory / "server.toml"]
    command += ["--rounds", rounds, "--cohort-size", updates]
    command += ["--bind", "127.0.0.1:0", "--linger-secs", 60]
    command += ["--ready-file", directory / "ready"]
    with running([*command, *([] if tls else ["--insecure"])], directory / "ready") as server:
        yield server


@contextmanager
def running(command: list[Any], ready: Path) -> Iterator[Served]:
    """A server that writes its address to the first line of the file `ready`."""
    with subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE) as server:
        try:
            while not ready.exists():
                if server.poll() is not None:
                    raise SystemExit("the server did not start")
                time.sleep(0.05)
            yield Served(ready.read_text().split()[0], server.pid)
        finally:
            server.terminate()


def write_task(directory: Path, size: int) -> None:
    """A package of one parameter; the server never looks into the program."""
    directory.mkdir(parents=True)
    table = ParameterTable.from_shapes([("w", (size,))])
    save_weights(directory / WEIGHTS_FILE, np.zeros(size, dtype=np.float32), table)
    manifest = TaskManifest(
        name="intake",
        model_kind="ctc",
        model={},
        parameters=table,
        features=FeatureSettings(),
        buckets=(Bucket(name="s", frames=4, labels=2, batch=1),),
        vocabulary=Vocabulary.from_words(["yes"]),
        program_digest=digest_of(PROGRAM),
        weights_digest=digest_of((directory / WEIGHTS_FILE).read_bytes()),
    )
    write_package(directory, manifest, PROGRAM)


def an_update(size: int) -> bytes:
    """Float32 [size], as small as updates are."""
    return np.random.default_rng(0).normal(0, 1e-3, size).astype(np.float32).tobytes()


def check_in_request(name: str) -> pb.CheckInRequest:
    """A phone that is ready to train on ten examples."""
    return pb.CheckInRequest(
        client_id=name,
        capabilities=pb.Capabilities(protocol_version=1, train_examples=10),
        conditions=pb.Conditions(charging=True, idle=True, unmetered=True),
    )


def report_header(
    work: pb.Assignment, name: str, update_bytes: int, digest: str
) -> pb.ReportHeader:
    """The header of an update of ten examples."""
    return pb.ReportHeader(
        client_id=name,
        assignment_id=work.assignment_id,
        report_id=f"{work.assignment_id}-{work.round}",
        round=work.round,
        payload=pb.Blob(digest=digest, size_bytes=update_bytes, encoding="float32"),
        statistics=pb.Statistics(examples=10, steps=1, planned_memory_bytes=1),
    )


def report_messages(
    work: pb.Assignment, name: str, update: bytes, digest: str, chunk_bytes: int
) -> Iterator[pb.ReportRequest]:
    """A report's header and chunks."""
    yield pb.ReportRequest(header=report_header(work, name, len(update), digest))
    for start in range(0, len(update), chunk_bytes):
        yield pb.ReportRequest(chunk=pb.Chunk(data=update[start : start + chunk_bytes]))
