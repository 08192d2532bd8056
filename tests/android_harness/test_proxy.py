"""The bad line does what it says, to the byte."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from fedvoice.android_harness.emulation.proxy import Direction, FaultProxy, Link
from tests.waiting import wait_until

BYTES = bytes(range(256)) * 2000


class Echo:
    """A server that sends back what it gets, and remembers it."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.ended = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            while data := connection.recv(65536):
                self.received += data
                connection.sendall(data)
        except OSError:
            pass
        self.ended += 1
        connection.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.listener.close()


def call(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def receive(line: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = line.recv(65536)
        if not piece:
            break
        data += piece
    return data


def exchange(address: str) -> bytes:
    with call(address) as line:
        sender = threading.Thread(target=line.sendall, args=(BYTES,))
        sender.start()
        data = receive(line, len(BYTES))
        sender.join()
        return data


def broken(use) -> bool:
    """Whether the line is at its end: a reset, or nothing where something should come."""
    try:
        return not use()
    except OSError as error:
        return not isinstance(error, TimeoutError)


@pytest.mark.parametrize(
    "link",
    [
        Link(),
        Link(latency_secs=0.02),
        Link(bytes_per_sec=5e6),
        Link(bytes_per_stall=100_000, stall_secs=0.05),
    ],
)
def test_bytes_pass_as_they_are(echo, link):
    with FaultProxy(echo.address, link) as proxy:
        assert exchange(proxy.address) == BYTES
        assert (proxy.counts.bytes_up, proxy.counts.bytes_down) == (len(BYTES), len(BYTES))


def test_latency_and_bandwidth_take_at_least_their_time(echo):
    with FaultProxy(echo.address, Link(latency_secs=0.1)) as proxy, call(proxy.address) as line:
        began = time.monotonic()
        line.sendall(b"x")
        receive(line, 1)
        assert time.monotonic() - began >= 0.2
        proxy.link = Link(bytes_per_sec=1e6)
        began = time.monotonic()
        exchange(proxy.address)
        assert time.monotonic() - began >= len(BYTES) / 1e6


@pytest.mark.parametrize("direction", list(Direction))
def test_a_cut_lets_exactly_so_many_bytes_pass(echo, direction):
    with FaultProxy(echo.address) as proxy, call(proxy.address) as line:

        def talk() -> bool:
            line.sendall(BYTES[:50_000])
            return len(receive(line, 50_000)) == 50_000

        done = proxy.cut_after(direction, 100_001)
        while not broken(talk):
            assert proxy.counts.passed(direction) < 100_001
        assert done.wait(20)
        assert proxy.counts.passed(direction) == 100_001
        # Once: the next connection lives.
        assert exchange(proxy.address) == BYTES


def test_flight_mode_breaks_the_phones_side_and_the_server_hears_nothing(echo):
    with FaultProxy(echo.address) as proxy, call(proxy.address) as line:
        line.sendall(b"hello")
        assert receive(line, 5) == b"hello"
        proxy.flight_mode = True
        assert broken(lambda: line.recv(1))
        with call(proxy.address) as refused:
            assert broken(lambda: refused.recv(1))
        assert echo.ended == 0
        assert (proxy.counts.attempts, proxy.counts.connections) == (2, 1)
        proxy.flight_mode = False
        wait_until(lambda: echo.ended == 1, "the end of the line")
        assert exchange(proxy.address) == BYTES


def test_what_is_held_comes_later(echo):
    with FaultProxy(echo.address) as proxy, call(proxy.address) as line:
        with proxy.hold(Direction.DOWN):
            line.sendall(b"hello")
            wait_until(lambda: bytes(echo.received) == b"hello", "what was sent")
            line.settimeout(0.2)
            with pytest.raises(TimeoutError):
                line.recv(1)
        line.settimeout(20)
        assert receive(line, 5) == b"hello"


def test_a_server_that_is_not_there_looks_like_one():
    with FaultProxy("127.0.0.1:1") as proxy, call(proxy.address) as line:
        assert broken(lambda: line.recv(1))
        assert (proxy.counts.attempts, proxy.counts.connections) == (1, 0)
