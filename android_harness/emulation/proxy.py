"""A bad line between a phone and its server: a TCP proxy in user space.

    with FaultProxy("127.0.0.1:8700", Link(latency_secs=0.05, bytes_per_sec=125_000)) as line:
        phone connects to line.address
        line.flight_mode = True

Bytes pass as they are: TLS goes through untouched. TCP hides lost packets from programs, who see
that nothing comes for a while; so a loss here is a stall, once in `bytes_per_stall` bytes on
average, drawn from a seed. Up is from the phone to the server.
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType

_PIECE_BYTES = 16 * 1024
_QUEUED_PIECES = 64
_CONNECT_SECS = 10.0
_CUT_STEP_SECS = 0.05


class Direction(StrEnum):
    """Seen from the phone."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True)
class Link:
    """What the line is like, in each direction.

    latency_secs: one way. bytes_per_sec: None: unbounded. bytes_per_stall: a stall of stall_secs
    in so many bytes on average; 0: none. secs_per_cut: all connections break so often; 0: never.
    """

    latency_secs: float = 0.0
    bytes_per_sec: float | None = None
    bytes_per_stall: int = 0
    stall_secs: float = 0.2
    seed: int = 0
    secs_per_cut: float = 0.0


def bad_mobile_line(seed: int = 0, secs_per_cut: float = 30.0) -> Link:
    """1 Mbit/s, 300 ms there and back, and what 2% of lost packets come to: of 1500 bytes each one
    is lost in 75 kB, and costs a round trip until it is sent again."""
    return Link(
        latency_secs=0.15,
        bytes_per_sec=125_000,
        bytes_per_stall=75_000,
        stall_secs=0.3,
        seed=seed,
        secs_per_cut=secs_per_cut,
    )


@dataclass
class Counts:
    """Totals over all connections. `attempts`: connections tried,
    those refused in flight mode too. `cuts`: those of the link, with a connection to break."""

    attempts: int = 0
    connections: int = 0
    cuts: int = 0
    bytes_up: int = 0
    bytes_down: int = 0

    def passed(self, direction: Direction) -> int:
        """Bytes forwarded."""
        return self.bytes_up if direction is Direction.UP else self.bytes_down


@dataclass(eq=False)
class _Watch:
    direction: Direction
    at_bytes: int
    act: Callable[[], None]
    done: threading.Event


@dataclass(eq=False)
class _Connection:
    phone: asyncio.StreamWriter
    server: asyncio.StreamWriter
    bytes_up: int = 0
    pumps: list[asyncio.Task[None]] = field(default_factory=list)


class FaultProxy:
    """One line. Its settings may be changed by any thread while bytes pass.

    Args:
        target: HOST:PORT of the server; may be changed, for connections to come.
        link: may be changed too.

    `most_bytes_up`: every connection breaks once so many bytes have gone up on it, and the bytes
    beyond do not pass (None: no limit): a server that takes calls and comes to nothing.
    """

    def __init__(self, target: str, link: Link | None = None) -> None:
        self.target = target
        self.link = link or Link()
        self.most_bytes_up: int | None = None
        self.counts = Counts()
        self.address = ""
        self._flight_mode = False
        self._held: set[Direction] = set()
        self._spoilt: set[Direction] = set()
        self._random = random.Random(self.link.seed)
        self._lock = threading.Lock()
        self._watches: list[_Watch] = []
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self._listening = threading.Event()

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self._listening.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # Faults

    @property
    def flight_mode(self) -> bool:
        """While True the phone's connections break and new ones are refused; the server is not
        notified until it is False again."""
        return self._flight_mode

    @flight_mode.setter
    def flight_mode(self, on: bool) -> None:
        self._flight_mode = on
        self._call(self._drop_phones if on else self._drop_servers)

    def cut(self) -> None:
        """Break all connections now, on both sides."""
        self._call(self._abort_all)

    def cut_after(self, direction: Direction, size_bytes: int) -> threading.Event:
        """Break all connections once so many more bytes have passed; the event says it is done.
        The bytes beyond do not pass."""
        return self.when(direction, size_bytes, self._abort_all)

    def spoil_after(self, direction: Direction, size_bytes: int) -> threading.Event:
        """Flip one bit of the first byte that follows so many more bytes."""
        return self.when(direction, size_bytes, lambda: self._spoilt.add(direction))

    def when(
        self, direction: Direction, size_bytes: int, act: Callable[[], None]
    ) -> threading.Event:
        """Call `act` once so many more bytes have passed, before any that follow; the event says
        that it has returned. It runs in the proxy's thread."""
        watch = _Watch(
            direction, self.counts.passed(direction) + size_bytes, act, threading.Event()
        )
        with self._lock:
            self._watches.append(watch)
        return watch.done

    @contextmanager
    def hold(self, direction: Direction) -> Iterator[None]:
        """Within this nothing passes in that direction; connections stay."""
        self._held.add(direction)
        try:
            yield
        finally:
            self._held.discard(direction)

    # Inside the loop

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        # As large a buffer as a modem's, not megabytes: what was sent is soon what has passed.
        listener = socket.create_server(("127.0.0.1", 0))
        server = self._loop.run_until_complete(
            asyncio.start_server(self._accept, sock=listener, limit=_PIECE_BYTES)
        )
        self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        cutting = self._loop.create_task(self._cut_regularly())
        self._listening.set()
        self._loop.run_forever()
        cutting.cancel()
        server.close()
        self._abort_all()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    async def _cut_regularly(self) -> None:
        last = self._loop.time()
        while True:
            await asyncio.sleep(_CUT_STEP_SECS)
            often, now = self.link.secs_per_cut, self._loop.time()
            if not often or not self._connections:
                last = now  # counts from when there is something to cut
            elif now - last >= often:
                last = now
                self.counts.cuts += 1
                self._abort_all()

    def _call(self, act: Callable[[], None]) -> None:
        done = threading.Event()

        def run() -> None:
            act()
            done.set()

        if threading.current_thread() is self._thread:
            act()
        else:
            self._loop.call_soon_threadsafe(run)
            done.wait()

    async def _accept(self, reader: asyncio.StreamReader, phone: asyncio.StreamWriter) -> None:
        self.counts.attempts += 1
        if self._flight_mode:
            phone.transport.abort()
            return
        host, _, port = self.target.rpartition(":")
        try:
            connecting = asyncio.open_connection(host.strip("[]"), int(port), limit=_PIECE_BYTES)
            answers, server = await asyncio.wait_for(connecting, _CONNECT_SECS)
        except (OSError, TimeoutError):
            phone.transport.abort()
            return
        self.counts.connections += 1
        connection = _Connection(phone, server)
        self._connections.add(connection)
        connection.pumps = [
            self._loop.create_task(self._pump(connection, reader, server, Direction.UP)),
            self._loop.create_task(self._pump(connection, answers, phone, Direction.DOWN)),
        ]
        with suppress(asyncio.CancelledError):  # the proxy is closed
            await asyncio.wait(connection.pumps)
        self._broken(connection)

    async def _pump(
        self,
        connection: _Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        direction: Direction,
    ) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUED_PIECES)

        async def deliver() -> None:
            while True:
                due, piece = await queue.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                if not piece:
                    with suppress(OSError):
                        writer.write_eof()
                    return
                try:
                    await self._deliver(piece, connection, direction)
                except OSError:
                    self._broken(connection)
                    return

        delivering = self._loop.create_task(deliver())
        try:
            while True:
                piece = await reader.read(_PIECE_BYTES)
                await queue.put((self._loop.time() + self.link.latency_secs, piece))
                if not piece:
                    break
            await delivering
        except OSError:
            self._broken(connection)
        finally:
            delivering.cancel()

    async def _deliver(self, piece: bytes, connection: _Connection, direction: Direction) -> None:
        link = self.link
        writer = connection.server if direction is Direction.UP else connection.phone
        if link.bytes_per_sec:
            await asyncio.sleep(len(piece) / link.bytes_per_sec)
        if link.bytes_per_stall and self._random.random() < len(piece) / link.bytes_per_stall:
            await asyncio.sleep(link.stall_secs)
        while direction in self._held:
            await asyncio.sleep(0.01)
        while piece and not writer.transport.is_closing():
            watch = self._next_watch(direction)
            room = len(piece) if watch is None else watch.at_bytes - self.counts.passed(direction)
            limit = self.most_bytes_up if direction is Direction.UP else None
            if limit is not None:
                room = min(room, limit - connection.bytes_up)
            now, piece = piece[: max(0, room)], piece[max(0, room) :]
            if now and direction in self._spoilt:
                self._spoilt.discard(direction)
                now = bytes([now[0] ^ 1]) + now[1:]
            if direction is Direction.UP:
                self.counts.bytes_up += len(now)
                connection.bytes_up += len(now)
            else:
                self.counts.bytes_down += len(now)
            writer.write(now)
            await writer.drain()
            if watch is not None and self.counts.passed(direction) >= watch.at_bytes:
                with self._lock:
                    self._watches.remove(watch)
                watch.act()
                watch.done.set()
            if limit is not None and connection.bytes_up >= limit:
                self._end(connection)

    def _next_watch(self, direction: Direction) -> _Watch | None:
        with self._lock:
            own = [watch for watch in self._watches if watch.direction is direction]
        return min(own, key=lambda watch: watch.at_bytes, default=None)

    def _drop_phones(self) -> None:
        for connection in self._connections:
            connection.phone.transport.abort()
            for pump in connection.pumps:
                pump.cancel()

    def _drop_servers(self) -> None:
        for connection in list(self._connections):
            if connection.phone.transport.is_closing():
                self._end(connection)

    def _abort_all(self) -> None:
        for connection in list(self._connections):
            self._end(connection)

    def _broken(self, connection: _Connection) -> None:
        # In flight mode the server's side stays as it is: it is not notified.
        if not self._flight_mode:
            self._end(connection)

    def _end(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        for pump in connection.pumps:
            pump.cancel()
        connection.phone.transport.abort()
        connection.server.transport.abort()
