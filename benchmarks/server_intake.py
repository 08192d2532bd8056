"""How many updates a second the server takes in: real processes, real sockets, loopback.

N clients, a few rounds of all of them, 10 MB of weights down and 10 MB of update up each:

    python -m benchmarks.server_intake --clients 10 --megabytes 10 --rounds 3

The last line is JSON. Clients share the machine with the server; `server_cpu_ms` is the server
process's own time for each update.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np

from fedvoice.protocol.codec import CHUNK_BYTES, digest_of
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.generated import fedvoice_pb2_grpc
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


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--megabytes", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2, help="that the clients are spread over")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(measure(Path(directory), options)))


def measure(directory: Path, options: argparse.Namespace) -> dict[str, float]:
    """One run; counts, rates and the server's own use of the machine."""
    size = int(options.megabytes * 1e6 / 4) // 4 * 4
    write_task(directory / "task", size)
    (directory / "server.toml").write_text("[retry]\nleast_secs = 0.02\nmost_secs = 0.2\n")
    command = [sys.executable, "-m", "fedvoice", "serve", "--task", directory / "task"]
    command += ["--store", directory / "store", "--config", directory / "server.toml"]
    command += ["--rounds", options.rounds, "--cohort-size", options.clients]
    command += ["--bind", "127.0.0.1:0", "--insecure", "--linger-secs", 60]
    command += ["--ready-file", directory / "ready"]
    with subprocess.Popen([str(part) for part in command]) as server:
        try:
            while not (directory / "ready").exists():
                if server.poll() is not None:
                    raise SystemExit("the server did not start")
                time.sleep(0.05)
            address = (directory / "ready").read_text().strip()
            context = multiprocessing.get_context("spawn")
            barrier = context.Barrier(options.processes + 1)
            names = [f"client-{i:03d}" for i in range(options.clients)]
            workers = [
                context.Process(
                    target=run_clients, args=(address, names[i :: options.processes], size, barrier)
                )
                for i in range(options.processes)
            ]
            for worker in workers:
                worker.start()
            barrier.wait()
            start, cpu = time.perf_counter(), cpu_secs(server.pid)
            for worker in workers:
                worker.join()
            secs, cpu = time.perf_counter() - start, cpu_secs(server.pid) - cpu
            peak_bytes = peak_memory_bytes(server.pid)
        finally:
            server.terminate()
    updates = options.clients * options.rounds
    return {
        "clients": options.clients,
        "update_bytes": 4 * size,
        "updates": updates,
        "secs": round(secs, 3),
        "updates_per_sec": round(updates / secs, 1),
        "server_cpu_ms": round(1000 * cpu / updates, 1),
        "server_peak_bytes": peak_bytes,
    }


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
        vocabulary=Vocabulary.from_words(["no", "yes"]),
        program_digest=digest_of(PROGRAM),
        weights_digest=digest_of((directory / WEIGHTS_FILE).read_bytes()),
    )
    write_package(directory, manifest, PROGRAM)


def run_clients(address: str, names: list[str], size: int, barrier: threading.Barrier) -> None:
    """A thread for each client; every one sends the same update in every round."""
    update = np.random.default_rng(0).normal(0, 1e-3, size).astype(np.float32).tobytes()
    digest = digest_of(update)
    barrier.wait()
    threads = [
        threading.Thread(target=run_client, args=(address, name, update, digest)) for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run_client(address: str, name: str, update: bytes, digest: str) -> None:
    """Check in, fetch the weights, report, until the server has finished."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]
    with grpc.insecure_channel(address, options=options) as channel:
        stub = fedvoice_pb2_grpc.AggregationStub(channel)  # type: ignore[no-untyped-call]
        request = pb.CheckInRequest(
            client_id=name,
            capabilities=pb.Capabilities(protocol_version=1, train_examples=10),
            conditions=pb.Conditions(charging=True, idle=True, unmetered=True),
        )
        while True:
            reply = stub.CheckIn(request)
            if reply.retry.finished:
                return
            if not reply.HasField("assignment"):
                time.sleep(reply.retry.min_secs)
                continue
            work = reply.assignment
            fetch = pb.FetchRequest(
                digest=work.weights.digest, client_id=name, assignment_id=work.assignment_id
            )
            for _ in stub.Fetch(fetch):
                pass
            answer = stub.Report(messages(work, name, update, digest))
            if answer.verdict != pb.VERDICT_ACCEPTED:
                print(f"{name}: {answer.detail}", file=sys.stderr)


def messages(
    work: pb.Assignment, name: str, update: bytes, digest: str
) -> Iterator[pb.ReportRequest]:
    """A report's header and chunks."""
    yield pb.ReportRequest(
        header=pb.ReportHeader(
            client_id=name,
            assignment_id=work.assignment_id,
            report_id=work.assignment_id,
            round=work.round,
            payload=pb.Blob(digest=digest, size_bytes=len(update), encoding="float32"),
            statistics=pb.Statistics(examples=10, steps=1, planned_memory_bytes=1),
        )
    )
    for start in range(0, len(update), CHUNK_BYTES):
        data = update[start : start + CHUNK_BYTES]
        yield pb.ReportRequest(chunk=pb.Chunk(data=data))


def cpu_secs(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory_bytes(pid: int) -> int:
    """Largest resident set of a process so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
