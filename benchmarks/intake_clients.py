"""Clients of the intake benchmark: as cheap as they can be, for they share the server's cores.

Each has its own connection, and sends the same update in every round: messages are serialised once
a process. A round is over for all of them when the last one has its answer, whatever the server.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import grpc

from benchmarks.serving import CHANNEL_OPTIONS, an_update, check_in_request, report_header
from fedvoice.protocol.codec import digest_of
from fedvoice.protocol.generated import fedvoice_pb2 as pb

_SERVICE = "/fedvoice.v1.Aggregation/"
_FRAME_BYTES = 5
_LIMIT_SECS = 600.0


@dataclass(frozen=True)
class Crowd:
    """What all clients of a run share.

    keys: a folder with authority.pem, key.pem and a certificate for each client, NAME.pem; None:
    no TLS.
    """

    address: str
    clients: int
    processes: int
    size: int
    chunk_bytes: int
    keys: Path | None

    @property
    def names(self) -> list[str]:
        """Of the clients."""
        return [client_name(i) for i in range(self.clients)]


def client_name(index: int) -> str:
    """A client's id."""
    return f"client-{index:03d}"


@contextmanager
def crowd_running(crowd: Crowd) -> Iterator[Rounds]:
    """Start the processes; they wait to be told."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(crowd.processes + 1)
    moved = context.Array("q", crowd.processes)
    workers = [
        context.Process(target=_run, args=(crowd, number, barrier, moved), daemon=True)
        for number in range(crowd.processes)
    ]
    for worker in workers:
        worker.start()
    barrier.wait(_LIMIT_SECS)
    try:
        yield Rounds(barrier, moved)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


class Rounds:
    """Lets all clients go, one round at a time."""

    def __init__(self, barrier: Barrier, moved: Any) -> None:
        self._barrier, self._moved = barrier, moved

    def run(self) -> None:
        """One update of every client."""
        self._barrier.wait(_LIMIT_SECS)
        self._barrier.wait(_LIMIT_SECS)

    def moved_bytes(self) -> int:
        """Of all messages so far, both ways, with gRPC's frame headers."""
        return sum(self._moved)


def _run(crowd: Crowd, number: int, barrier: Barrier, moved: Any) -> None:
    names = crowd.names[number :: crowd.processes]
    update = an_update(crowd.size)
    messages = [
        pb.ReportRequest(
            chunk=pb.Chunk(data=update[at : at + crowd.chunk_bytes])
        ).SerializeToString()
        for at in range(0, len(update), crowd.chunk_bytes)
    ]
    digest = digest_of(update)
    clients = [Client(crowd, name, messages, digest, len(update)) for name in names]
    barrier.wait(_LIMIT_SECS)
    with ThreadPoolExecutor(len(clients)) as threads:
        try:
            while True:
                barrier.wait(_LIMIT_SECS)
                if moved[number]:  # the others do not ask before a round has begun
                    clients[0].find_work()
                list(threads.map(Client.take_part, clients))
                moved[number] = sum(client.moved_bytes for client in clients)
                barrier.wait(_LIMIT_SECS)
        except grpc.RpcError as error:
            print(f"a client's call failed: {error}", file=sys.stderr, flush=True)
            barrier.abort()  # nobody waits for this process


class Client:
    """One phone."""

    def __init__(
        self, crowd: Crowd, name: str, messages: list[bytes], digest: str, update_bytes: int
    ) -> None:
        self._name, self._messages, self._digest = name, messages, digest
        self._update_bytes = update_bytes
        self.moved_bytes = 0
        channel = _channel(crowd, name)
        self._check_in = channel.unary_unary(
            _SERVICE + "CheckIn",
            request_serializer=pb.CheckInRequest.SerializeToString,
            response_deserializer=pb.CheckInReply.FromString,
        )
        self._fetch = channel.unary_stream(_SERVICE + "Fetch")
        self._report = channel.stream_unary(_SERVICE + "Report")

    def find_work(self) -> pb.Assignment:
        """Check in until there is work; an assignment that was not worked on is given again."""
        request = check_in_request(self._name)
        while True:
            reply = self._check_in(request, timeout=_LIMIT_SECS)
            self._count(request.SerializeToString(), reply.SerializeToString())
            if reply.HasField("assignment"):
                return reply.assignment
            time.sleep(reply.retry.min_secs)

    def take_part(self) -> None:
        """Find work, fetch the weights, send the update."""
        work = self.find_work()
        fetch = pb.FetchRequest(
            digest=work.weights.digest, client_id=self._name, assignment_id=work.assignment_id
        ).SerializeToString()
        self._count(fetch)
        for message in self._fetch(fetch, timeout=_LIMIT_SECS):
            self._count(message)
        header = report_header(work, self._name, self._update_bytes, self._digest)
        first = pb.ReportRequest(header=header).SerializeToString()
        sent = chain([first], self._messages)
        data = self._report(sent, timeout=_LIMIT_SECS)
        self._count(first, *self._messages, data)
        answer = pb.ReportReply.FromString(data)
        if answer.verdict != pb.VERDICT_ACCEPTED:
            print(f"{self._name}: {answer.detail}", file=sys.stderr)

    def _count(self, *messages: bytes) -> None:
        self.moved_bytes += sum(_FRAME_BYTES + len(message) for message in messages)


def _channel(crowd: Crowd, name: str) -> grpc.Channel:
    if crowd.keys is None:
        return grpc.insecure_channel(crowd.address, options=CHANNEL_OPTIONS)
    parts = ("authority.pem", "key.pem", f"{name}.pem")
    credentials = grpc.ssl_channel_credentials(*((crowd.keys / p).read_bytes() for p in parts))
    return grpc.secure_channel(crowd.address, credentials, options=CHANNEL_OPTIONS)
