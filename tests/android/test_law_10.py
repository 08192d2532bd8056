"""Law 10 on the wire: all that the Kotlin phone sends in its life, byte by byte."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import soundfile
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from fedvoice.protocol.codec import encode
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import TaskPackage
from fedvoice.protocol.utterances import read_manifest
from fedvoice.server.app import AggregationServer
from fedvoice.server.config import ServerConfig
from tests.android import http2
from tests.android.jvm import ask, needs_phone
from tests.android.support import run_phone

pytestmark = [pytest.mark.slow, needs_phone]

ROUNDS = 2
REQUESTS = (pb.CheckInRequest, pb.FetchRequest, pb.ReportStatusRequest, pb.ReportRequest)
WINDOW_BYTES = 16
"""So much of a sound or of its features in a row would be no accident."""
HEADER_BYTES = 400
"""Of one call at most: its path, the user agent, a deadline."""
PLAN = TrainingPlan(batch_size=2, local_epochs=2, client_rate=0.05, update_encoding="float32")


class Wiretap:
    """Passes bytes on to a server and keeps what the phone sends, by connection."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.sent: list[bytearray] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                phone, _ = self._listener.accept()
            except OSError:  # closed
                return
            server = socket.create_connection(self._target)
            heard = bytearray()
            self.sent.append(heard)
            for thread in (
                threading.Thread(target=self._pass, args=(phone, server, heard), daemon=True),
                threading.Thread(target=self._pass, args=(server, phone, None), daemon=True),
            ):
                self._threads.append(thread)
                thread.start()

    @staticmethod
    def _pass(source: socket.socket, sink: socket.socket, heard: bytearray | None) -> None:
        try:
            while data := source.recv(1 << 16):
                if heard is not None:
                    heard += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            source.close()
            sink.close()

    def close(self) -> None:
        # Closing alone would not wake who waits in accept.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(20)


@contextmanager
def tapped(package: TaskPackage, directory: Path) -> Iterator[Wiretap]:
    """A server that trains and evaluates with one phone, and the line to it."""
    config = ServerConfig.model_validate(
        {
            "bind": "127.0.0.1:0",
            "insecure": True,
            "rounds": ROUNDS,
            "cohort_size": 1,
            "evaluate_every": 1,
            "retry": {"least_secs": 0.01, "most_secs": 0.05},
            "plan": PLAN.model_dump(),
        }
    )
    server = AggregationServer(config, package, directory / "store")
    tap = Wiretap(server.start())
    try:
        yield tap
    finally:
        server.stop(grace_secs=0.2)
        tap.close()


def request_of(data: bytes) -> pb.CheckInRequest | pb.ReportRequest | None:
    """The request that these bytes are, with nothing left over; None: of no kind."""
    for kind in REQUESTS:
        try:
            message = kind.FromString(data)
        except DecodeError:
            continue
        if not _unknown(message) and message.SerializeToString(deterministic=True) == data:
            return message
    return None


def _unknown(message: object) -> bool:
    if len(UnknownFieldSet(message)):
        return True
    children = [value for field, value in message.ListFields() if field.message_type]  # type: ignore[attr-defined]
    return any(_unknown(child) for child in children if hasattr(child, "ListFields"))


def windows(data: bytes, step: int) -> Iterator[bytes]:
    """Pieces of WINDOW_BYTES, a sample or a float of `step` bytes apart from the last."""
    for at in range(0, len(data) - WINDOW_BYTES + 1, step):
        yield data[at : at + WINDOW_BYTES]


def secrets(package: TaskPackage, manifest: Path, directory: Path) -> dict[str, set[bytes]]:
    """What must not leave the phone: sounds and the features that it makes of them."""
    questions, sounds = [], set()
    floats: list[FlatVector] = []
    for i, utterance in enumerate(read_manifest(manifest)):
        pcm, _ = soundfile.read(utterance.audio_path, dtype="int16")
        sounds |= set(windows(pcm.astype("<i2").tobytes(), 2))
        waveform = (pcm / 32768).astype("<f4")
        floats.append(waveform)
        waveform.tofile(directory / f"{i}.f32")
        questions.append(
            {
                "kind": "features",
                "id": f"s{i}",
                "task": str(package.directory),
                "waveform": str(directory / f"{i}.f32"),
            }
        )
    answers = ask(directory / "answers", questions)
    features: set[bytes] = set()
    for question in questions:
        floats += [answers.floats(question["id"], what) for what in ("mel", "normalised")]
    for values in floats:
        features |= set(windows(values.astype("<f4").tobytes(), 4))
        features |= set(windows(values.astype("<f2").tobytes(), 2))
    return {"a sound": sounds, "features": features}


def found(secret: set[bytes], sent: bytes) -> bool:
    """Whether one of these pieces is anywhere in what was sent."""
    return any(sent[at : at + WINDOW_BYTES] in secret for at in range(len(sent)))


def test_law_10_nothing_but_the_protocol_leaves_and_none_of_it_is_speech(
    task: TaskPackage, manifest: Path, tmp_path: Path
) -> None:
    state = tmp_path / "phone"
    with tapped(task, tmp_path) as tap:
        command = ("run", "--server", tap.address, "--state", state, "--data", manifest)
        code, log = run_phone(*command, "--client-id", "anna")
        assert code == 0, log
    sent = [list(http2.frames(bytes(heard))) for heard in tap.sent if heard]
    assert sent

    requests = []
    for connection in sent:
        assert {f.kind for f in connection} <= {
            *(http2.DATA, http2.HEADERS, http2.RST_STREAM, http2.SETTINGS),
            *(http2.PING, http2.GOAWAY, http2.WINDOW_UPDATE),
        }
        # What is no message is small.
        assert all(len(f.payload) <= HEADER_BYTES for f in connection if f.kind != http2.DATA)
        requests += [request_of(data) for data in http2.messages(connection)]
    assert None not in requests, "bytes that are no message of the protocol"
    kinds = {type(request) for request in requests}
    assert {pb.CheckInRequest, pb.FetchRequest, pb.ReportRequest} <= kinds
    reports = [request for request in requests if isinstance(request, pb.ReportRequest)]
    headers = [report.header for report in reports if report.HasField("header")]
    trained = [h for h in headers if h.payload.size_bytes]
    assert len(trained) == ROUNDS
    assert len(headers) > ROUNDS, "evaluations too"

    everything = b"".join(tap.sent)
    # What is looked for would be seen: the name, and the update, are there.
    assert b"anna" in everything
    chunks = [report.chunk.data for report in reports if report.HasField("chunk")]
    assert found({chunks[0][:WINDOW_BYTES]}, everything)
    initial = encode(task.weights(), "float32")
    assert len(b"".join(chunks)) == ROUNDS * len(initial)

    # Beside the updates' floats, in which two letters may stand by accident:
    besides = b"".join(
        request.SerializeToString()
        for request in requests
        if not (isinstance(request, pb.ReportRequest) and request.HasField("chunk"))
    )
    besides += b"".join(f.payload for c in sent for f in c if f.kind != http2.DATA)
    words = {word for u in read_manifest(manifest) for word in u.text.split()}
    spoken = [f"{before}{word}" for word in words for before in (" ", chr(len(word)))]
    places = [str(manifest.parent), str(state), "examples.sqlite", ".wav"]
    assert not [text for text in (*spoken, *places) if text.encode() in besides]
    for what, secret in secrets(task, manifest, tmp_path).items():
        secret = {piece for piece in secret if len(set(piece)) > 4}  # silence is everywhere
        assert len(secret) > 500, what
        assert not found(secret, everything), what
