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
import sys
import tempfile
import threading
import time
from pathlib import Path

import grpc

from benchmarks.serving import (
    CHANNEL_OPTIONS,
    an_update,
    check_in_request,
    report_messages,
    serving,
)
from fedvoice.protocol.codec import CHUNK_BYTES, digest_of
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.generated import fedvoice_pb2_grpc

SETTINGS = "[retry]\nleast_secs = 0.02\nmost_secs = 0.2\n"


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
    with serving(
        directory, size, SETTINGS, updates=options.clients, rounds=options.rounds
    ) as server:
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(options.processes + 1)
        names = [f"client-{i:03d}" for i in range(options.clients)]
        workers = [
            context.Process(
                target=run_clients,
                args=(server.address, names[i :: options.processes], size, barrier),
            )
            for i in range(options.processes)
        ]
        for worker in workers:
            worker.start()
        barrier.wait()
        start, cpu = time.perf_counter(), server.cpu_secs
        for worker in workers:
            worker.join()
        secs, cpu = time.perf_counter() - start, server.cpu_secs - cpu
        peak_bytes = server.peak_bytes
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


def run_clients(address: str, names: list[str], size: int, barrier: threading.Barrier) -> None:
    """A thread for each client; every one sends the same update in every round."""
    update = an_update(size)
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
    with grpc.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        stub = fedvoice_pb2_grpc.AggregationStub(channel)  # type: ignore[no-untyped-call]
        request = check_in_request(name)
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
            answer = stub.Report(report_messages(work, name, update, digest, CHUNK_BYTES))
            if answer.verdict != pb.VERDICT_ACCEPTED:
                print(f"{name}: {answer.detail}", file=sys.stderr)


if __name__ == "__main__":
    main()
