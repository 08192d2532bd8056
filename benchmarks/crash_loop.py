"""`kill -9` of the server again and again while phones send updates.

    python -m benchmarks.crash_loop --kills 20 --json

Phones send an update of 1 MB each in every round and keep it until they are told that it is
accepted, as real ones do; the server is killed at random moments and started again on its store. At
the end: updates that a phone was told are accepted (`acknowledged`), those of them that the store
does not have (`lost`), phones counted more than once in a round, and whether the model is that of
as many rounds without a kill, to the bit. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import grpc
import numpy as np

from benchmarks.serving import CHANNEL_OPTIONS, check_in_request, report_messages, serving
from fedvoice.protocol.codec import CHUNK_BYTES, digest_of
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.generated import fedvoice_pb2_grpc
from fedvoice.server.store.database import open_read_only
from fedvoice.server.store.ledger import round_rows

PHONES = 5
SIZE = 250_000
SETTINGS = (
    "lease_secs = 600.0\nround_timeout_secs = 3600.0\n"
    "[keep]\nrows_of_rounds = 0\nweights_of_rounds = 0\n"
    "[retry]\nleast_secs = 0.02\nmost_secs = 0.1\nmost_calls_per_sec = 10000\n"
)
Told = Counter[tuple[int, str]]


class Fleet:
    """Phones that work on, whatever happens to the server; each in a thread."""

    def __init__(self, directory: Path, rounds: int) -> None:
        self._directory, self._rounds = directory, rounds
        self.told: Told = Counter()
        """Updates that were said to be accepted, by round and phone."""
        self._kept: dict[str, pb.Assignment] = {}
        """What each phone works on until it is told how that ended."""
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(f"phone-{i}", i)) for i in range(PHONES)
        ]

    def start(self) -> None:
        """Begin to call."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_secs: float = 600) -> None:
        """Wait until every phone has done all rounds."""
        end = time.monotonic() + timeout_secs
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        self._over.set()
        if any(thread.is_alive() for thread in self._threads):
            raise SystemExit("phones did not finish their rounds")

    def _run(self, name: str, index: int) -> None:
        address, channel, done = "", None, 0
        while done < self._rounds and not self._over.is_set():
            try:
                now = (self._directory / "ready").read_text().strip()
            except FileNotFoundError:
                now = ""
            if not now:
                time.sleep(0.05)
                continue
            if now != address or channel is None:
                address = now
                channel = grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
            stub = fedvoice_pb2_grpc.AggregationStub(channel)  # type: ignore[no-untyped-call]
            try:
                done += self._worked(stub, name, index)
            except grpc.RpcError:
                channel.close()
                channel = None
                time.sleep(0.05)

    def _worked(self, stub: fedvoice_pb2_grpc.AggregationStub, name: str, index: int) -> bool:
        """Whether one update has been accepted."""
        work = self._kept.get(name)
        if work is None:
            reply = stub.CheckIn(check_in_request(name), timeout=30)
            if not reply.HasField("assignment"):
                time.sleep(reply.retry.min_secs)
                return False
            work = self._kept[name] = reply.assignment
        update = update_of(index, work.round)
        digest = digest_of(update)
        asked = pb.ReportStatusRequest(client_id=name, report_id=work.assignment_id)
        held = stub.ReportStatus(asked, timeout=30).received_bytes
        messages = list(report_messages(work, name, update[held:], digest, CHUNK_BYTES))
        messages[0].header.offset = held
        messages[0].header.payload.size_bytes = len(update)
        answer = stub.Report(iter(messages), timeout=60)
        if answer.verdict != pb.VERDICT_WRONG_OFFSET:
            del self._kept[name]
        if answer.verdict == pb.VERDICT_ACCEPTED:
            self.told[work.round, name] += 1
            return True
        if answer.verdict not in (pb.VERDICT_LATE, pb.VERDICT_WRONG_OFFSET):
            raise SystemExit(f"{name}: {pb.Verdict.Name(answer.verdict)} {answer.detail}")
        return False


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=0, help="0: eight a kill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    options = parser.parse_args()
    rounds = options.rounds or 8 * options.kills
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        killed, told = run(directory / "killed", rounds, options.kills, options.seed)
        run(directory / "calm", rounds, 0, 0)
        print(json.dumps(outcome(directory, killed, told)))


def run(directory: Path, rounds: int, kills: int, seed: int) -> tuple[int, Told]:
    """All rounds with so many kills, or as many as the rounds had time for."""
    directory.mkdir()
    draw, fleet, done = random.Random(seed), Fleet(directory, rounds), 0
    fleet.start()
    for _ in range(kills):
        if not killed_in_time(directory, rounds, draw.uniform(0.0, 1.5)):
            break
        done += 1
    with serving(directory, SIZE, SETTINGS, updates=PHONES, rounds=rounds):
        fleet.stop()
    return done, fleet.told


def killed_in_time(directory: Path, rounds: int, after_secs: float) -> bool:
    """Start the server and kill it a while after it listens; False: it had done all rounds."""
    with serving(directory, SIZE, SETTINGS, updates=PHONES, rounds=rounds) as server:
        time.sleep(after_secs)
        finished = len(round_rows(directory / "store")) >= rounds
        (directory / "ready").unlink()
        os.kill(server.pid, signal.SIGKILL)
    return not finished


def outcome(directory: Path, kills: int, told: Told) -> dict[str, int | bool]:
    """What the store has against what the phones were told."""
    store = open_read_only(directory / "killed" / "store")
    rows = store.reports(work="train", verdict=int(pb.VERDICT_ACCEPTED))
    store.close()
    counted = Counter((row.number, row.client_id) for row in rows)
    weights = [
        (directory / kind / "store" / "weights.safetensors").read_bytes()
        for kind in ("killed", "calm")
    ]
    return {
        "kills": kills,
        "acknowledged": len(told),
        "lost": len(told.keys() - counted.keys()),
        "double_counted": sum(times > 1 for times in counted.values()),
        "bitwise_equal": weights[0] == weights[1],
        "rounds": len(round_rows(directory / "killed" / "store")),
        "update_bytes": 4 * SIZE,
    }


def update_of(index: int, number: int) -> bytes:
    """Float32 [SIZE], the same whenever a phone trains for a round."""
    drawn = np.random.default_rng([index, number])
    return drawn.normal(0, 1e-3, SIZE).astype(np.float32).tobytes()


if __name__ == "__main__":
    main()
