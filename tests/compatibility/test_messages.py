"""Law 9 over time: a phone of 0.1.0 with this server, and this phone with a server of 0.1.0.

The messages are those of a phone's life with a server: evaluations, two rounds of training (the
first upload is cut after its header), the end.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.generated import fedvoice_pb2_grpc as pb_grpc
from fedvoice.protocol.task import load_package
from fedvoice.server.app import AggregationServer
from tests.compatibility.conftest import read_json
from tests.compatibility.phones import phone_in
from tests.server.support import quick_config
from tests.waiting import wait_until

TYPES: dict[str, tuple[Any, Any]] = {
    "CheckIn": (pb.CheckInRequest, pb.CheckInReply),
    "Fetch": (pb.FetchRequest, pb.Chunk),
    "ReportStatus": (pb.ReportStatusRequest, pb.ReportStatusReply),
    "Report": (pb.ReportRequest, pb.ReportReply),
}
MEASURED = {"train_secs", "peak_memory_bytes"}
"""Other values on every machine."""
TRAINED = {"loss", "digest"}
"""The last bits of floating-point arithmetic are the processor's: compared on their own."""


@dataclass(frozen=True)
class Call:
    """A recorded call: its name, the messages of both directions."""

    name: str
    requests: list[Any]
    replies: list[Any]


def read_session(folder: Path) -> list[Call]:
    """`session.jsonl` has names and lengths, `session.bin` the messages one after another."""
    data, calls = memoryview((folder / "session.bin").read_bytes()), []

    def take(kind: Any, lengths: Sequence[int]) -> Iterator[Any]:
        nonlocal data
        for length in lengths:
            yield kind.FromString(bytes(data[:length]))
            data = data[length:]

    for line in read_lines(folder / "session.jsonl"):
        request, reply = TYPES[line["call"]]
        requests = list(take(request, line["requests"]))
        calls.append(Call(line["call"], requests, list(take(reply, line["replies"]))))
    assert not data
    return calls


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def check_same(got: Any, recorded: Any, leave_out: Set[str] = frozenset()) -> None:
    """Every field that 0.1.0 set has the value that it had; fields may have been added since."""
    for field, value in recorded.ListFields():
        if field.name in leave_out:
            continue
        own = getattr(got, field.name)
        if field.message_type is None or isinstance(value, Sequence):
            assert own == value, field.full_name
        else:
            check_same(own, value, leave_out)


def test_law_9_a_phone_of_the_last_release_works_with_this_server(
    copy_of: Callable[..., Path],
) -> None:
    folder = copy_of("messages", "run")
    session = read_session(folder / "messages")
    settings = quick_config(**read_json(folder / "messages" / "facts.json")["settings"])
    package = load_package(folder / "run" / "task")
    server = AggregationServer(settings, package, folder / "messages" / "store")
    with grpc.insecure_channel(server.start()) as channel:
        try:
            stub = pb_grpc.AggregationStub(channel)  # type: ignore[no-untyped-call]
            for call in session:
                replay(stub, call)
            assert server.wait_finished(20)
        finally:
            server.stop()


def replay(stub: Any, call: Call) -> None:
    """Send a call's requests; the replies mean what those of 0.1.0 meant.

    A round of the same updates ends with the same weights, so their digests are the same, too.
    """
    (recorded, *_) = call.replies
    if call.name == "Fetch":
        got, wanted = (
            b"".join(chunk.data for chunk in chunks)
            for chunks in (stub.Fetch(call.requests[0], timeout=20), call.replies)
        )
        assert got == wanted
    elif call.name == "Report":
        reply = stub.Report(iter(call.requests), timeout=20)
        assert reply.verdict == recorded.verdict
        assert reply.retry.finished == recorded.retry.finished
    elif call.name == "ReportStatus":
        check_same(stub.ReportStatus(call.requests[0], timeout=20), recorded)
    else:
        replies: list[Any] = []

        def answered() -> bool:
            """Between two rounds there is no work for a moment."""
            replies.append(stub.CheckIn(call.requests[0], timeout=20))
            return bool(replies[-1].HasField("assignment") or replies[-1].retry.finished)

        wait_until(answered, "work, or the end")
        # What is left of a lease depends on when the phone calls.
        check_same(replies[-1], recorded, {"lease_secs"})
        lease_secs = recorded.assignment.lease_secs
        assert replies[-1].assignment.lease_secs == pytest.approx(lease_secs, rel=1e-6)


class RecordedServer(pb_grpc.AggregationServicer):
    """Answers what 0.1.0 answered; `calls` are those that are still to come."""

    def __init__(self, session: Sequence[Call]) -> None:
        self.calls = deque(session)
        self.got: list[Call] = []

    def _next(self, name: str, requests: list[Any], context: grpc.ServicerContext) -> Call:
        if not self.calls or self.calls[0].name != name:
            wanted = self.calls[0].name if self.calls else "no call"
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{name}; recorded is {wanted}")
        call = self.calls.popleft()
        self.got.append(Call(name, requests, call.replies))
        return call

    def CheckIn(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._next("CheckIn", [request], context).replies[0]

    def Fetch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        yield from self._next("Fetch", [request], context).replies

    def ReportStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._next("ReportStatus", [request], context).replies[0]

    def Report(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._next("Report", list(requests), context).replies[0]


def test_law_9_this_phone_works_with_a_server_of_the_last_release(
    copy_of: Callable[..., Path],
) -> None:
    folder = copy_of("messages", "phone")
    session = read_session(folder / "messages")
    recorded = RecordedServer(session)
    state = folder / "state"
    state.mkdir()
    (folder / "phone" / "training" / "examples.sqlite").rename(state / "examples.sqlite")
    server = grpc.server(futures.ThreadPoolExecutor(2))
    pb_grpc.add_AggregationServicer_to_server(recorded, server)  # type: ignore[no-untyped-call]
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        phone = phone_in(state, address, folder / "blobs")
        happened = []
        while not (outcome := phone.run_once()).finished:
            happened.append(str(outcome.happened))
    finally:
        server.stop(None).wait()
    assert not recorded.calls
    assert happened == read_json(folder / "messages" / "facts.json")["happened"]
    for got, wanted in zip(recorded.got, session, strict=True):
        for message, other in zip(got.requests, wanted.requests, strict=False):
            check_sent(message, other)


def check_sent(message: Any, recorded: Any) -> None:
    """What this phone sent, and what that of 0.1.0 did."""
    if isinstance(recorded, pb.ReportRequest) and recorded.HasField("chunk"):
        own, other = (np.frombuffer(m.chunk.data, np.float32) for m in (message, recorded))
        np.testing.assert_allclose(own, other, rtol=1e-3, atol=1e-6)
        return
    check_same(message, recorded, MEASURED | TRAINED if is_header(recorded) else set())
    if is_header(recorded):
        loss = recorded.header.statistics.loss
        assert message.header.statistics.loss == pytest.approx(loss, rel=1e-4)


def is_header(message: Any) -> bool:
    return isinstance(message, pb.ReportRequest) and message.HasField("header")
