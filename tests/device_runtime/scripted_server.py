"""A server on a real socket that answers by a script and writes down what it is sent."""

from __future__ import annotations

import threading
from collections import deque
from concurrent import futures
from dataclasses import dataclass, field

import grpc

from fedvoice.protocol.codec import CHUNK_BYTES, digest_of
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.generated import fedvoice_pb2_grpc as pb_grpc

SOON = pb.RetryWindow(min_secs=2.0, max_secs=4.0)


@dataclass
class Script:
    """What the server does; lists are used up from the front.

    fetch_cuts: after how many bytes a Fetch breaks off with UNAVAILABLE.
    report_cuts: after how many payload bytes a Report does, these bytes being kept.
    verdicts: for complete reports; ACCEPTED when used up.
    silent: by call, Fetch or Report, until when it says nothing.
    """

    check_ins: deque[pb.CheckInReply] = field(default_factory=deque)
    blobs: dict[str, bytes] = field(default_factory=dict)
    fetch_cuts: deque[int] = field(default_factory=deque)
    report_cuts: deque[int] = field(default_factory=deque)
    verdicts: deque[int] = field(default_factory=deque)
    silent: dict[str, threading.Event] = field(default_factory=dict)


class ScriptedServer(pb_grpc.AggregationServicer):
    """The service; `messages` holds every message received, in order."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.messages: list[object] = []
        self.fetches: list[pb.FetchRequest] = []
        self.reports: list[tuple[pb.ReportHeader, bytes]] = []
        self._received: dict[str, bytes] = {}
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
        pb_grpc.add_AggregationServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(grace=None).wait()

    def CheckIn(self, request, context):  # noqa: N802
        self.messages.append(request)
        if self.script.check_ins:
            return self.script.check_ins.popleft()
        return pb.CheckInReply(retry=SOON)

    def Fetch(self, request, context):  # noqa: N802
        self.messages.append(request)
        self.fetches.append(request)
        if "Fetch" in self.script.silent:
            self.script.silent["Fetch"].wait(30)
        data = self.script.blobs.get(request.digest)
        if data is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such blob")
        cut = self.script.fetch_cuts.popleft() if self.script.fetch_cuts else None
        end = len(data) if cut is None else request.offset + cut
        for start in range(request.offset, end, CHUNK_BYTES):
            yield pb.Chunk(data=data[start : min(end, start + CHUNK_BYTES)])
        if cut is not None:
            context.abort(grpc.StatusCode.UNAVAILABLE, "cut by the script")

    def ReportStatus(self, request, context):  # noqa: N802
        self.messages.append(request)
        return pb.ReportStatusReply(received_bytes=len(self._received.get(request.report_id, b"")))

    def Report(self, request_iterator, context):  # noqa: N802
        if "Report" in self.script.silent:
            self.script.silent["Report"].wait(30)
        header = None
        cut = self.script.report_cuts.popleft() if self.script.report_cuts else None
        for message in request_iterator:
            self.messages.append(message)
            if header is None:
                header = message.header
                held = self._received.get(header.report_id, b"")
                if header.offset > len(held):
                    return pb.ReportReply(verdict=pb.VERDICT_WRONG_OFFSET, retry=SOON)
                self._received[header.report_id] = held[: header.offset]
                continue
            self._received[header.report_id] += message.chunk.data
            if cut is not None:
                self._received[header.report_id] = self._received[header.report_id][:cut]
                context.abort(grpc.StatusCode.UNAVAILABLE, "cut by the script")
        payload = self._received[header.report_id]
        verdict = pb.VERDICT_ACCEPTED
        if self.script.verdicts:
            verdict = self.script.verdicts.popleft()
        elif header.payload.size_bytes and digest_of(payload) != header.payload.digest:
            verdict = pb.VERDICT_WRONG_DIGEST
        elif header.statistics.examples == 0:
            verdict = pb.VERDICT_INVALID_STATISTICS
        self.reports.append((header, payload))
        return pb.ReportReply(verdict=verdict, retry=SOON)
