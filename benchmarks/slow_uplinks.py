"""Many slow uploads, calls that say nothing, and short calls beside them.

    python -m benchmarks.slow_uplinks --phones 500 --kbytes-per-sec 50 --json

Each phone has a connection of its own and sends 64 KB chunks at its rate. An honest phone checks in
all the time, and then trains a round on a fast line. Of the silent calls half send their header.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import sys
import tempfile
import time
from multiprocessing.queues import Queue
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

_CHUNK_BYTES = 64 * 1024
_HONEST = "honest"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phones", type=int, default=500)
    parser.add_argument("--kbytes-per-sec", type=float, default=50.0)
    parser.add_argument("--mb", type=float, default=10.0)
    parser.add_argument("--silent", type=int, default=50)
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(measure(Path(directory), options)))


def measure(directory: Path, options: argparse.Namespace) -> dict[str, float | bool]:
    """One run."""
    size = int(options.mb * 1e6 / 4) // 4 * 4
    secs = options.mb * 1e3 / options.kbytes_per_sec
    settings = (
        f"lease_secs = {3 * secs + 120}\nround_timeout_secs = {4 * secs + 240}\n"
        f"quota_bytes = {int((options.phones + 10) * options.mb * 2e6)}\n"
        "[retry]\nleast_secs = 0.05\nmost_secs = 1\nmost_calls_per_sec = 10000\n"
    )
    context = multiprocessing.get_context("spawn")
    answers: Queue[tuple[int, int]] = context.Queue()
    with serving(directory, size, settings, updates=options.phones + 1, rounds=1) as server:
        crowd = context.Process(target=run_phones, args=(server.address, options, size, answers))
        crowd.start()
        waits: list[float] = []
        with grpc.insecure_channel(server.address, options=CHANNEL_OPTIONS) as channel:
            stub = fedvoice_pb2_grpc.AggregationStub(channel)  # type: ignore[no-untyped-call]
            work = pb.Assignment()
            while answers.empty() and crowd.is_alive():
                begun = time.monotonic()
                reply = stub.CheckIn(check_in_request(_HONEST), timeout=60)
                waits.append(1e3 * (time.monotonic() - begun))
                if reply.HasField("assignment"):
                    work = reply.assignment
                time.sleep(0.05)
            finished, silent_ended = answers.get(timeout=60)
            update = an_update(size)
            answer = stub.Report(
                report_messages(work, _HONEST, update, digest_of(update), CHUNK_BYTES), timeout=60
            )
        peak_bytes, cpu_secs = server.peak_bytes, server.cpu_secs
        crowd.join()
    waits.sort()
    return {
        "phones": options.phones,
        "checkin_p99_ms": round(waits[int(len(waits) * 0.99)], 1),
        "honest_finished": answer.verdict == pb.VERDICT_ACCEPTED,
        "uploads_finished": finished,
        "server_peak_bytes": peak_bytes,
        "checkins": len(waits),
        "checkin_median_ms": round(waits[len(waits) // 2], 1),
        "checkin_most_ms": round(waits[-1], 1),
        "silent": options.silent,
        "silent_ended": silent_ended,
        "server_cpu_ms_per_update": round(1e3 * cpu_secs / max(1, finished), 1),
    }


def run_phones(
    address: str, options: argparse.Namespace, size: int, answers: Queue[tuple[int, int]]
) -> None:
    """All slow and silent phones; puts how many uploads were accepted, and silent calls ended."""

    async def run() -> tuple[int, int]:
        update = an_update(size)
        digest = digest_of(update)
        uploads = [
            upload(address, f"slow-{i:04d}", update, digest, options) for i in range(options.phones)
        ]
        quiet = [silent(address, bool(i % 2)) for i in range(options.silent)]
        done = await asyncio.gather(*uploads, *quiet)
        return sum(done[: options.phones]), sum(done[options.phones :])

    answers.put(asyncio.run(run()))


async def upload(
    address: str, name: str, update: bytes, digest: str, options: argparse.Namespace
) -> bool:
    """One phone: waits for work, sends its update at its rate; whether that was accepted."""
    await asyncio.sleep(10 * random.random())
    async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        stub = fedvoice_pb2_grpc.AggregationStub(channel)  # type: ignore[no-untyped-call]
        try:
            while not (reply := await stub.CheckIn(check_in_request(name), timeout=60)).HasField(
                "assignment"
            ):
                await asyncio.sleep(reply.retry.max_secs)
            call, start = stub.Report(), time.monotonic()
            messages = report_messages(reply.assignment, name, update, digest, _CHUNK_BYTES)
            for number, message in enumerate(messages):
                due = start + number * _CHUNK_BYTES / (1e3 * options.kbytes_per_sec)
                await asyncio.sleep(due - time.monotonic())
                await call.write(message)
            await call.done_writing()
            answer = await call
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            print(f"{name}: {error!r}", file=sys.stderr)
            return False
        if answer.verdict != pb.VERDICT_ACCEPTED:
            print(f"{name}: {answer.detail}", file=sys.stderr)
        return bool(answer.verdict == pb.VERDICT_ACCEPTED)


async def silent(address: str, with_header: bool) -> bool:
    """A report that says nothing, or its header alone; whether it was ended."""
    async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        stub = fedvoice_pb2_grpc.AggregationStub(channel)  # type: ignore[no-untyped-call]
        call = stub.Report()
        if with_header:
            await call.write(
                pb.ReportRequest(header=pb.ReportHeader(client_id="silent", report_id="silent"))
            )
        return await call.code() is not None


if __name__ == "__main__":
    main()
