"""Hostile inputs to a running server, structured and mutated, with honest phones beside them.

    python -m benchmarks.hostile --inputs 100000 --json

Most inputs are messages whose fields hold extreme values, the others are valid messages with bytes
changed, cut or repeated; they go to every call, reports with chunks of their own, half of them for
an assignment that the phone holds. Five honest phones finish their rounds meanwhile. Counted:
server processes that ended (`crashes`), calls that the server itself failed on (`unhandled`:
UNKNOWN or INTERNAL), reports that were accepted although their statistics are out of bounds
(`accepted_nonsense`), growth of the server's resident set after a warm-up of a tenth of the inputs.
Without TLS: who has no certificate gets no further than that. The last line is JSON.
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
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from benchmarks.serving import (
    CHANNEL_OPTIONS,
    Served,
    an_update,
    check_in_request,
    report_messages,
    serving,
)
from fedvoice.algorithm.checks import check_statistics
from fedvoice.algorithm.rounds import Work
from fedvoice.protocol.codec import digest_of
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.generated import fedvoice_pb2_grpc
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.server.config import ServerConfig

SIZE = 256
HONEST = 5
SERVICE = "/fedvoice.v1.Aggregation/"
SETTINGS = (
    'selection = "first"\nover_selection = 2.0\nlease_secs = 5.0\n'
    "[retry]\nleast_secs = 0.05\nmost_secs = 0.2\nmost_calls_per_sec = 10000\n"
    "[streams]\nheader_secs = 2.0\nsilence_secs = 2.0\n"
)
_TEXTS = ["", "a", "phone-1", "x" * 129, "a\nb", "\x1b[2J", "../x", "0" * 64, "é" * 64, "\u2028"]
_NUMBERS = [0, 1, 2, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1]
_REALS = [0.0, -0.0, 1.0, -1.0, 1e308, -1e308, 5e-324, float("inf"), float("-inf"), float("nan")]


@dataclass
class Tally:
    """What came back."""

    codes: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    decoded: int = 0
    nonsense: int = 0

    @property
    def unhandled(self) -> int:
        """Calls that the server failed on."""
        return self.codes["UNKNOWN"] + self.codes["INTERNAL"]


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
    tally, over = Tally(), threading.Event()
    honest_rounds = Counter[str]()
    with serving(directory, SIZE, SETTINGS, updates=HONEST, rounds=1_000_000) as server:
        phones = [
            threading.Thread(target=be_honest, args=(server, f"honest-{i}", over, honest_rounds))
            for i in range(HONEST)
        ]
        for phone in phones:
            phone.start()
        attack(server, inputs // 10, threads, seed + 1, Tally())
        before = resident_bytes(server.pid)
        attack(server, inputs, threads, seed, tally)
        growth = resident_bytes(server.pid) - before
        alive = Path(f"/proc/{server.pid}").exists()
        over.set()
        for phone in phones:
            phone.join(60)
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


def attack(server: Served, inputs: int, threads: int, seed: int, tally: Tally) -> None:
    """Send so many inputs, from several threads, each a client with a line of its own."""
    lock = threading.Lock()

    def run(number: int) -> None:
        draw, own = random.Random(f"{seed}|{number}"), Tally()
        with grpc.insecure_channel(server.address, options=CHANNEL_OPTIONS) as channel:
            for _ in range(inputs // threads + (number < inputs % threads)):
                one_input(channel, f"hostile-{number}", draw, own)
        with lock:
            tally.codes += own.codes
            tally.verdicts += own.verdicts
            tally.decoded += own.decoded
            tally.nonsense += own.nonsense

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def one_input(channel: grpc.Channel, name: str, draw: random.Random, tally: Tally) -> None:
    """One call with one hostile input."""
    call = draw.choice([_check_in, _fetch, _status, _report, _report])
    try:
        call(channel, name, draw, tally)
        tally.codes["OK"] += 1
    except grpc.RpcError as error:
        tally.codes[error.code().name] += 1  # type: ignore[attr-defined]


def _check_in(channel: grpc.Channel, name: str, draw: random.Random, tally: Tally) -> None:
    sent = hostile(check_in_request(name), draw, tally)
    channel.unary_unary(SERVICE + "CheckIn")(sent, timeout=30)


def _fetch(channel: grpc.Channel, name: str, draw: random.Random, tally: Tally) -> None:
    request = pb.FetchRequest(client_id=name, digest=draw.choice(["0" * 64, "x", ""]), offset=0)
    for _ in channel.unary_stream(SERVICE + "Fetch")(hostile(request, draw, tally), timeout=30):
        pass


def _status(channel: grpc.Channel, name: str, draw: random.Random, tally: Tally) -> None:
    request = pb.ReportStatusRequest(client_id=name, report_id="r")
    channel.unary_unary(SERVICE + "ReportStatus")(hostile(request, draw, tally), timeout=30)


def _report(channel: grpc.Channel, name: str, draw: random.Random, tally: Tally) -> None:
    stub = fedvoice_pb2_grpc.AggregationStub(channel)  # type: ignore[no-untyped-call]
    work = pb.Assignment(assignment_id="none", round=1)
    if draw.random() < 0.5:  # with an assignment the header's checks are reached
        reply = stub.CheckIn(check_in_request(name), timeout=30)
        work = reply.assignment if reply.HasField("assignment") else work
    update = an_update(SIZE)
    header, *chunks = report_messages(work, name, update, digest_of(update), 256)
    header.header.report_id = f"r{draw.random()}"
    first = hostile(header, draw, tally)
    rest = [chunk.SerializeToString() for chunk in chunks]
    if draw.random() < 0.3:
        rest[draw.randrange(len(rest))] = mutated(draw.choice(rest), draw)
    answer = channel.stream_unary(SERVICE + "Report")(iter([first, *rest]), timeout=30)
    found = pb.ReportReply.FromString(answer)
    tally.verdicts[pb.Verdict.Name(found.verdict)] += 1
    if found.verdict == pb.VERDICT_ACCEPTED and not sensible(first):
        tally.nonsense += 1


def sensible(first: bytes) -> bool:
    """Whether the statistics of a report's first message may be accepted."""
    statistics = pb.ReportRequest.FromString(first).header.statistics
    return check_statistics(statistics, Work.TRAIN, TrainingPlan(), ServerConfig()) is None


def hostile(message: Message, draw: random.Random, tally: Tally) -> bytes:
    """A message with extreme values, or bytes that were one."""
    if draw.random() < 0.6:
        distort(message, draw)
        sent = message.SerializeToString()
    else:
        sent = mutated(message.SerializeToString(), draw)
    try:
        type(message).FromString(sent)
        tally.decoded += 1
    except DecodeError:
        pass
    return sent


def distort(message: Message, draw: random.Random) -> None:
    """Set some fields, at any depth, to extreme values."""
    for each in message.DESCRIPTOR.fields:
        if draw.random() < 0.25 and not each.is_repeated:
            if each.message_type is not None:
                distort(getattr(message, each.name), draw)
            else:
                setattr(message, each.name, _extreme(each, draw))
        elif draw.random() < 0.05 and each.is_repeated and each.message_type is None:
            entries = [_extreme(each, draw) for _ in range(draw.choice([1, 300, 5000]))]
            getattr(message, each.name).extend(entries)


def _extreme(each: FieldDescriptor, draw: random.Random) -> Any:
    kinds = FieldDescriptor
    if each.cpp_type == kinds.CPPTYPE_STRING:
        return (
            draw.choice(_TEXTS).encode() if each.type == kinds.TYPE_BYTES else draw.choice(_TEXTS)
        )
    if each.cpp_type == kinds.CPPTYPE_DOUBLE:
        return draw.choice(_REALS)
    if each.cpp_type == kinds.CPPTYPE_BOOL:
        return draw.random() < 0.5
    most = 2**64 if each.cpp_type == kinds.CPPTYPE_UINT64 else 2**32
    if each.cpp_type == kinds.CPPTYPE_ENUM:
        most = 16
    return draw.choice(_NUMBERS) % most


def mutated(data: bytes, draw: random.Random) -> bytes:
    """Bytes changed, cut, repeated or put in between."""
    found = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(found) + 1)
        kind = draw.randrange(4)
        if kind == 0 and at < len(found):
            found[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del found[at:]
        elif kind == 2:
            found[at:at] = found[: draw.randrange(32)]
        else:
            found[at:at] = draw.randbytes(draw.randrange(16))
    return bytes(found)


def be_honest(server: Served, name: str, over: threading.Event, finished: Counter[str]) -> None:
    """A phone that does what it is asked for."""
    update = an_update(SIZE)
    with grpc.insecure_channel(server.address, options=CHANNEL_OPTIONS) as channel:
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
