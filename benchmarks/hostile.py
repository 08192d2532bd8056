"""Hostile inputs to a running server, structured and mutated, with honest phones beside them.

    python -m benchmarks.hostile --inputs 100000 --json

Over TLS: the attackers have certificates, as bought or stolen phones have. Most inputs are messages
whose fields hold extreme values, the others are valid messages with bytes changed, cut or repeated;
they go to every call, enrolment among them. Reports bring chunks of their own in every encoding,
some damaged before their digest was taken, half of them for an assignment that the phone holds.
Five honest phones finish their rounds meanwhile. Counted: server processes that ended (`crashes`),
calls that the server itself failed on (`unhandled`: UNKNOWN or INTERNAL), reports that were
accepted although their statistics or values are out of bounds (`accepted_nonsense`), growth of the
server's resident set after a warm-up of a tenth of the inputs. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import Message

from benchmarks.hostile_inputs import decodes, distort, hostile, mutated
from benchmarks.serving import (
    Served,
    an_update,
    certificate_request,
    check_in_request,
    report_messages,
    serving,
)
from fedvoice.algorithm.checks import check_statistics
from fedvoice.algorithm.rounds import Work
from fedvoice.protocol.codec import ENCODINGS, decode, digest_of, encode
from fedvoice.protocol.errors import FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.generated import fedvoice_pb2_grpc
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.server.config import ServerConfig

SIZE = 256
HONEST = 5
SERVICE, ENROLMENT = "/fedvoice.v1.Aggregation/", "/fedvoice.v1.Enrolment/"
SETTINGS = (
    'selection = "first"\nover_selection = 2.0\nlease_secs = 5.0\n'
    "[retry]\nleast_secs = 0.05\nmost_secs = 0.2\nmost_calls_per_sec = 10000\n"
    "[streams]\nheader_secs = 2.0\nsilence_secs = 2.0\n"
)


@dataclass
class Tally:
    """What came back."""

    codes: Counter[str] = field(default_factory=Counter)
    """By call and status."""
    verdicts: Counter[str] = field(default_factory=Counter)
    decoded: int = 0
    nonsense: int = 0

    @property
    def unhandled(self) -> int:
        """Calls that the server failed on."""
        return sum(
            times for code, times in self.codes.items() if code.endswith(("UNKNOWN", "INTERNAL"))
        )

    def add(self, other: Tally) -> None:
        """Add another one."""
        self.codes += other.codes
        self.verdicts += other.verdicts
        self.decoded += other.decoded
        self.nonsense += other.nonsense


@dataclass
class Attacker:
    """One client with certificate and lines of its own."""

    server: Served
    name: str
    draw: random.Random
    channel: grpc.Channel
    enrolment: grpc.Channel
    tally: Tally = field(default_factory=Tally)
    accepted: set[str] = field(default_factory=set)
    """Its reports, by id: one that is sent again is answered alike, whatever else it says."""

    def one_input(self) -> None:
        """One call with one hostile input."""
        calls = [self._check_in, self._fetch, self._status, self._enrol, self._renew]
        call = self.draw.choice([*calls, *[self._report] * 3])
        name = call.__name__.strip("_")
        try:
            call()
            self.tally.codes[f"{name} OK"] += 1
        except grpc.RpcError as error:
            self.tally.codes[f"{name} {error.code().name}"] += 1  # type: ignore[attr-defined]

    def _hostile(self, message: Message) -> bytes:
        sent = hostile(message, self.draw)
        self.tally.decoded += decodes(type(message), sent)
        return sent

    def _check_in(self) -> None:
        sent = self._hostile(check_in_request(self.name))
        self.channel.unary_unary(SERVICE + "CheckIn")(sent, timeout=30)

    def _fetch(self) -> None:
        digest = self.draw.choice(["0" * 64, "x", ""])
        sent = self._hostile(pb.FetchRequest(client_id=self.name, digest=digest))
        for _ in self.channel.unary_stream(SERVICE + "Fetch")(sent, timeout=30):
            pass

    def _status(self) -> None:
        sent = self._hostile(pb.ReportStatusRequest(client_id=self.name, report_id="r"))
        self.channel.unary_unary(SERVICE + "ReportStatus")(sent, timeout=30)

    def _enrol(self) -> None:
        request = self._request()
        sent = self._hostile(pb.EnrolRequest(token="guessed", certificate_request=request))
        self.enrolment.unary_unary(ENROLMENT + "Enrol")(sent, timeout=30)

    def _renew(self) -> None:
        sent = self._hostile(pb.RenewRequest(certificate_request=self._request()))
        self.channel.unary_unary(ENROLMENT + "Renew")(sent, timeout=30)

    def _request(self) -> bytes:
        request = certificate_request(self.name)
        return mutated(request, self.draw) if self.draw.random() < 0.7 else request

    def _report(self) -> None:
        draw = self.draw
        work = pb.Assignment(assignment_id="none", round=1)
        if draw.random() < 0.5:  # with an assignment the header's checks are reached
            stub = fedvoice_pb2_grpc.AggregationStub(self.channel)  # type: ignore[no-untyped-call]
            reply = stub.CheckIn(check_in_request(self.name), timeout=30)
            work = reply.assignment if reply.HasField("assignment") else work
        encoding = draw.choice(ENCODINGS)
        update = encode(np.frombuffer(an_update(SIZE), "<f4"), encoding)
        if draw.random() < 0.4:
            update = mutated(update, draw) or b"\0"
        header, *chunks = report_messages(
            work, self.name, update, digest_of(update), 256, encoding=encoding
        )
        header.header.report_id = f"r{draw.random()}"
        if draw.random() < 0.4:
            distort(draw.choice([header.header.statistics, header.header.payload]), draw)
            first = header.SerializeToString()
            self.tally.decoded += 1
        else:
            first = self._hostile(header)
        rest = [chunk.SerializeToString() for chunk in chunks]
        if draw.random() < 0.2:
            rest[draw.randrange(len(rest))] = mutated(draw.choice(rest), draw)
        answer = self.channel.stream_unary(SERVICE + "Report")(iter([first, *rest]), timeout=30)
        found = pb.ReportReply.FromString(answer)
        self.tally.verdicts[pb.Verdict.Name(found.verdict)] += 1
        if found.verdict == pb.VERDICT_ACCEPTED:
            report_id = pb.ReportRequest.FromString(first).header.report_id
            again = report_id in self.accepted
            self.tally.nonsense += not again and not sensible(first, update)
            self.accepted.add(report_id)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(measure(Path(directory), options.inputs, options.threads, options.seed)))


def measure(directory: Path, inputs: int, threads: int, seed: int) -> dict[str, Any]:
    """One run."""
    over, honest_rounds = threading.Event(), Counter[str]()
    with serving(directory, SIZE, SETTINGS, updates=HONEST, rounds=1_000_000, tls=True) as server:
        phones = [
            threading.Thread(target=be_honest, args=(server, f"honest-{i}", over, honest_rounds))
            for i in range(HONEST)
        ]
        for phone in phones:
            phone.start()
        attackers = [attacker(server, f"hostile-{number}", seed) for number in range(threads)]
        attack(attackers, inputs // 10)
        for each in attackers:
            each.tally = Tally()
        before = resident_bytes(server.pid)
        attack(attackers, inputs)
        growth = resident_bytes(server.pid) - before
        alive = Path(f"/proc/{server.pid}").exists()
        over.set()
        for phone in phones:
            phone.join(60)
    tally = Tally()
    for each in attackers:
        tally.add(each.tally)
    return {
        "inputs": inputs,
        "crashes": int(not alive),
        "unhandled": tally.unhandled,
        "accepted_nonsense": tally.nonsense,
        "growth_bytes": growth,
        "honest_finished": len(+honest_rounds) == HONEST,
        "honest_updates": honest_rounds.total(),
        "decoded_share": round(tally.decoded / inputs, 3),
        "codes": dict(tally.codes.most_common()),
        "verdicts": dict(tally.verdicts.most_common()),
    }


def attacker(server: Served, name: str, seed: int) -> Attacker:
    """An attacker who has enrolled."""
    return Attacker(
        server,
        name,
        random.Random(f"{seed}|{name}"),
        server.channel(name),
        server.enrolment_channel(),
    )


def attack(attackers: list[Attacker], inputs: int) -> None:
    """Send so many inputs, each attacker in a thread of its own."""

    def run(number: int, each: Attacker) -> None:
        for _ in range(inputs // len(attackers) + (number < inputs % len(attackers))):
            each.one_input()

    running = [
        threading.Thread(target=run, args=(number, each)) for number, each in enumerate(attackers)
    ]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def sensible(first: bytes, update: bytes) -> bool:
    """Whether a report may be accepted: the statistics of its first message, and its values."""
    header, config = pb.ReportRequest.FromString(first).header, ServerConfig()
    try:
        values = decode(update, header.payload.encoding, SIZE, "accepted")
    except FedvoiceError:
        return False
    bounded = bool(np.isfinite(values).all() and np.abs(values).max() <= config.max_update_abs)
    refused = check_statistics(header.statistics, Work.TRAIN, TrainingPlan(), config)
    return bounded and refused is None


def be_honest(server: Served, name: str, over: threading.Event, finished: Counter[str]) -> None:
    """A phone that does what it is asked for."""
    update = an_update(SIZE)
    with server.channel(name) as channel:
        stub = fedvoice_pb2_grpc.AggregationStub(channel)  # type: ignore[no-untyped-call]
        while not over.is_set():
            reply = stub.CheckIn(check_in_request(name), timeout=30)
            if not reply.HasField("assignment"):
                time.sleep(reply.retry.min_secs)
                continue
            messages = report_messages(reply.assignment, name, update, digest_of(update), 512)
            if stub.Report(messages, timeout=30).verdict == pb.VERDICT_ACCEPTED:
                finished[name] += 1


def resident_bytes(pid: int) -> int:
    """The resident set of a process now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
