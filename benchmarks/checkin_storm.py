"""Check-ins with very many phones known.

    python -m benchmarks.checkin_storm --phones 100000 --json

The phones come into the store through its own writer; 10,000 of them call over real sockets, so
many at once that the server is the limit. The round waits for one phone more than there are.
`cost_ratio_1m_to_1k`: time of a check-in in the registry itself with a million phones known against
that with a thousand. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import tempfile
import time
from multiprocessing.queues import Queue
from pathlib import Path
from statistics import median

import grpc

from benchmarks.serving import CHANNEL_OPTIONS, check_in_request, serving
from fedvoice.protocol.generated import fedvoice_pb2_grpc
from fedvoice.server.config import ServerConfig
from fedvoice.server.rounds.clients import ClientRegistry
from fedvoice.server.store.database import open_store
from fedvoice.server.store.tables import ClientRow

_CHANNELS = 64


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phones", type=int, default=100_000)
    parser.add_argument("--callers", type=int, default=10_000)
    parser.add_argument("--together", type=int, default=64, help="calls at once")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(measure(Path(directory), options)))


def measure(directory: Path, options: argparse.Namespace) -> dict[str, float]:
    """One run."""
    known(directory / "store", options.phones)
    settings = f"min_population = {options.phones + 1}\n"
    context = multiprocessing.get_context("spawn")
    answers: Queue[tuple[float, list[float], int]] = context.Queue()
    with serving(directory, 8, settings, updates=10, rounds=1) as server:
        cpu_secs = server.cpu_secs
        crowd = context.Process(target=run_callers, args=(server.address, options, answers))
        crowd.start()
        secs, waits, errors = answers.get()
        crowd.join()
        cpu_secs, peak_bytes = server.cpu_secs - cpu_secs, server.peak_bytes
    waits.sort()
    return {
        "phones": options.phones,
        "checkins_per_sec": round(len(waits) / secs, 1),
        "p99_ms": round(waits[int(len(waits) * 0.99)], 1),
        "errors": errors,
        "cost_ratio_1m_to_1k": round(registry_us(1_000_000) / registry_us(1000), 2),
        "callers": options.callers,
        "median_ms": round(waits[len(waits) // 2], 1),
        "server_cpu_ms": round(1e3 * cpu_secs / len(waits), 2),
        "server_peak_bytes": peak_bytes,
    }


def known(store_dir: Path, phones: int) -> None:
    """A store that knows so many phones."""
    store = open_store(store_dir)
    for i in range(phones):
        store.save_client(ClientRow(f"phone-{i:07d}", 10, 0, "", True, 0.0))
    store.flush(600)
    store.close()


def registry_us(phones: int) -> float:
    """Microseconds of a check-in where so many phones are known."""
    with tempfile.TemporaryDirectory() as directory:
        known(Path(directory), phones)
        store = open_store(Path(directory))
        registry = ClientRegistry(store, ServerConfig(min_population=phones + 1), (), 0.0)
        times = []
        for i in range(5000):
            request = check_in_request(f"phone-{i * 7919 % phones:07d}")
            begun = time.perf_counter()
            registry.register(request, float(i))
            registry.trainers_seen()
            times.append(time.perf_counter() - begun)
        store.close()
    return 1e6 * median(times)


def run_callers(
    address: str, options: argparse.Namespace, answers: Queue[tuple[float, list[float], int]]
) -> None:
    """Every caller once; puts the seconds of all, the milliseconds of each, and failed calls."""

    async def run() -> tuple[float, list[float], int]:
        channels = [
            grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) for _ in range(_CHANNELS)
        ]
        stubs = [
            fedvoice_pb2_grpc.AggregationStub(channel)  # type: ignore[no-untyped-call]
            for channel in channels
        ]
        waits: list[float] = []
        errors, numbers = 0, iter(range(options.callers))
        # Callers are spread over all phones known.
        step = max(1, options.phones // options.callers)

        async def caller(stub: fedvoice_pb2_grpc.AggregationStub) -> None:
            nonlocal errors
            for number in numbers:
                begun = time.perf_counter()
                try:
                    await stub.CheckIn(check_in_request(f"phone-{number * step:07d}"), timeout=60)
                except grpc.aio.AioRpcError:
                    errors += 1
                waits.append(1e3 * (time.perf_counter() - begun))

        start = time.perf_counter()
        await asyncio.gather(*(caller(stubs[i % _CHANNELS]) for i in range(options.together)))
        secs = time.perf_counter() - start
        await asyncio.gather(*(channel.close() for channel in channels))
        return secs, waits, errors

    answers.put(asyncio.run(run()))


if __name__ == "__main__":
    main()
