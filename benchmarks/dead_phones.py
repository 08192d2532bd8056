"""Phones that go away for good in the middle of their work, in many rounds.

    python -m benchmarks.dead_phones --updates 10000 --dead 0.1 --json

Of the assignments that phones get a share is never heard of again: half of these phones vanish
before they send anything, half in mid-upload. (They come back after three leases, as a phone does
that was out of reach.) `leaked_leases`: places that a round closed without though live phones were
waiting, and files that dead phones' uploads left behind. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
from pathlib import Path

import grpc

from benchmarks.serving import (
    CHANNEL_OPTIONS,
    an_update,
    check_in_request,
    report_messages,
    serving,
)
from fedvoice.protocol.codec import digest_of
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.generated import fedvoice_pb2_grpc
from fedvoice.server.store.ledger import round_rows

SIZE = 4096
_CHUNK_BYTES = 4096
_CHANNELS = 16
_LEASE_SECS = 3.0
SETTINGS = (
    f"lease_secs = {_LEASE_SECS}\nround_timeout_secs = 120.0\n"
    "[retry]\nleast_secs = 0.05\nmost_secs = 1.0\nmost_calls_per_sec = 1000\n"
)


class Toll:
    """What the phones did."""

    def __init__(self) -> None:
        self.dead = 0
        self.late = 0
        self.accepted = 0


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=10_000)
    parser.add_argument("--dead", type=float, default=0.1, help="share of assignments")
    parser.add_argument("--cohort-size", type=int, default=100)
    parser.add_argument("--phones", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(measure(Path(directory), options)))


def measure(directory: Path, options: argparse.Namespace) -> dict[str, int]:
    """One run."""
    rounds, toll = -(-options.updates // options.cohort_size), Toll()
    settings = f"min_population = {options.phones}\n{SETTINGS}"
    with serving(directory, SIZE, settings, updates=options.cohort_size, rounds=rounds) as server:
        asyncio.run(run_phones(server.address, options, toll))
        rows = round_rows(directory / "store")
        left = [
            path
            for folder in ("spool", "payloads")
            for path in (directory / "store" / folder).iterdir()
        ]
    missing = sum(options.cohort_size - row.clients for row in rows)
    return {
        "updates": sum(row.clients for row in rows),
        "dead": toll.dead,
        "leaked_leases": missing + len(left),
        "rounds": sum(row.status == "committed" for row in rows),
        "abandoned": sum(row.status == "abandoned" for row in rows),
        "told_accepted": toll.accepted,
        "late": toll.late,
    }


async def run_phones(address: str, options: argparse.Namespace, toll: Toll) -> None:
    """All phones, until the server says that it has finished."""
    channels = [
        grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) for _ in range(_CHANNELS)
    ]
    stubs = [
        fedvoice_pb2_grpc.AggregationStub(channel)  # type: ignore[no-untyped-call]
        for channel in channels
    ]
    await asyncio.gather(
        *(
            run_phone(stubs[i % _CHANNELS], f"phone-{i:04d}", options, toll)
            for i in range(options.phones)
        )
    )
    await asyncio.gather(*(channel.close() for channel in channels))


async def run_phone(
    stub: fedvoice_pb2_grpc.AggregationStub, name: str, options: argparse.Namespace, toll: Toll
) -> None:
    """One phone; it dies by its own dice."""
    draw = random.Random(f"{options.seed}|{name}")
    update = an_update(SIZE)
    digest = digest_of(update)
    while True:
        reply = await stub.CheckIn(check_in_request(name), timeout=60)
        if reply.retry.finished:
            return
        if not reply.HasField("assignment"):
            await asyncio.sleep(draw.uniform(reply.retry.min_secs, reply.retry.max_secs))
            continue
        messages = list(report_messages(reply.assignment, name, update, digest, _CHUNK_BYTES))
        if draw.random() < options.dead:
            toll.dead += 1
            if draw.random() < 0.5:
                await cut_upload(stub, messages[:2])
            await asyncio.sleep(3 * _LEASE_SECS)
            continue
        answer = await stub.Report(iter(messages), timeout=60)
        toll.accepted += answer.verdict == pb.VERDICT_ACCEPTED
        toll.late += answer.verdict == pb.VERDICT_LATE


async def cut_upload(
    stub: fedvoice_pb2_grpc.AggregationStub, messages: list[pb.ReportRequest]
) -> None:
    """The beginning of a report, whose line then breaks."""
    call = stub.Report()
    for message in messages:
        await call.write(message)
    await asyncio.sleep(0.05)
    call.cancel()


if __name__ == "__main__":
    main()
