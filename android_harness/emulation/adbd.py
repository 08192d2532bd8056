"""The device's end of adb: what Debian's own `adb` client talks to when it talks to a phone.

Transport protocol version 1 over TCP (`adb connect HOST:PORT`), without authentication: shell
(version 2, with exit codes), exec, and sync version 1 (push, pull, stat, list). Source: Android's
`packages/modules/adb/{protocol.txt, SYNC.TXT, shell_protocol.h}`.
"""

from __future__ import annotations

import logging
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from fedvoice.android_harness.emulation.adbd_sync import FileAccess, serve_sync

log = logging.getLogger("fedvoice.adbd")

_MOST_BYTES = 256 * 1024
_VERSION = 0x01000000
_CONNECT, _OPEN, _OKAY, _CLOSE, _WRITE = (
    int.from_bytes(name, "little") for name in (b"CNXN", b"OPEN", b"OKAY", b"CLSE", b"WRTE")
)
_HEADER = struct.Struct("<6I")
_SHELL_PACKET = struct.Struct("<BI")
_STDIN, _STDOUT, _EXIT, _CLOSE_STDIN = 0, 1, 3, 4


class Console(Protocol):
    """Where a command reads and writes; both raise EOFError once the cable is gone."""

    def read(self, count: int) -> bytes:
        """Exactly so many bytes of the command's input."""

    def write(self, data: bytes) -> None:
        """Output; returns when the client has taken it."""

    def gone(self) -> bool:
        """Whether the client has hung up or the cable was pulled."""


class Device(Protocol):
    """What is behind the cable."""

    banner: str

    @property
    def files(self) -> FileAccess:
        """Its files, for push and pull."""

    def run(self, command: str, console: Console) -> int:
        """Run a shell command; its exit status."""


class Adbd:
    """Serves one device on a port of this machine until `close`.

    `unplug` breaks every connection and refuses new ones until `plug_in`.
    """

    def __init__(self, device: Device, port: int = 0) -> None:
        self._device = device
        self._plugged_in = True
        self._connections: set[_Connection] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", port))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, name="adbd", daemon=True).start()

    def unplug(self) -> None:
        """Pull the cable."""
        with self._lock:
            self._plugged_in = False
            for connection in self._connections:
                connection.cut()

    def plug_in(self) -> None:
        """Put it back."""
        with self._lock:
            self._plugged_in = True

    def close(self) -> None:
        """Unplug for good."""
        self.unplug()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if not self._plugged_in:
                    client.close()
                    continue
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection = _Connection(client, self._device)
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: _Connection) -> None:
        connection.serve()
        with self._lock:
            self._connections.discard(connection)


class _Connection:
    def __init__(self, client: socket.socket, device: Device) -> None:
        self._client, self._device = client, device
        self._streams: dict[int, _Stream] = {}
        self._next_id = 1
        self._sending = threading.Lock()

    def cut(self) -> None:
        with suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)

    def send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        header = _HEADER.pack(
            command, first, second, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF
        )
        try:
            with self._sending:
                self._client.sendall(header + data)
        except OSError as error:
            raise EOFError from error

    def serve(self) -> None:
        try:
            with self._client:
                while True:
                    command, first, second, size, _, _ = _HEADER.unpack(self._receive(24))
                    self._handle(command, first, second, self._receive(size))
        except (EOFError, OSError):
            pass
        finally:
            for stream in list(self._streams.values()):
                stream.end()

    def _handle(self, command: int, first: int, second: int, data: bytes) -> None:
        if command == _CONNECT:
            self.send(_CONNECT, _VERSION, _MOST_BYTES, self._device.banner.encode())
        elif command == _OPEN:
            stream = _Stream(self, self._next_id, first)
            self._streams[self._next_id] = stream
            self._next_id += 1
            service = data.rstrip(b"\0").decode("utf-8", "replace")
            threading.Thread(target=self._open, args=(stream, service), daemon=True).start()
        elif known := self._streams.get(second):
            if command == _WRITE:
                known.take(data)
            elif command == _OKAY:
                known.taken()
            elif command == _CLOSE:
                known.end()

    def _open(self, stream: _Stream, service: str) -> None:
        with suppress(EOFError):
            kind, _, argument = service.partition(":")
            if kind == "sync":
                stream.accept()
                serve_sync(stream, self._device.files)
            elif kind == "exec":
                stream.accept()
                self._device.run(argument, stream)
            elif kind == "reverse":
                # Device and client share this machine's loopback: there is nothing to forward.
                stream.accept()
                stream.write(b"OKAY")
            elif kind.partition(",")[0] == "shell":
                stream.accept()
                if "v2" in kind.split(","):
                    _ShellProtocol(stream).run(self._device.run, argument)
                else:
                    self._device.run(argument, stream)
            else:
                log.warning("service %r is not known", service)
        self._streams.pop(stream.own_id, None)
        with suppress(EOFError):
            self.send(_CLOSE, stream.own_id, stream.their_id)

    def _receive(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            part = self._client.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
        return bytes(data)


class _Stream:
    """One of the streams of a connection; what is written waits for the other side's OKAY."""

    def __init__(self, connection: _Connection, own_id: int, their_id: int) -> None:
        self._connection = connection
        self.own_id, self.their_id = own_id, their_id
        self._buffer = bytearray()
        self._ended = False
        self._unanswered = 0
        self._changed = threading.Condition()

    def accept(self) -> None:
        self._connection.send(_OKAY, self.own_id, self.their_id)

    def take(self, data: bytes) -> None:
        with self._changed:
            self._buffer += data
            self._changed.notify_all()
        self.accept()

    def taken(self) -> None:
        with self._changed:
            self._unanswered -= 1
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def gone(self) -> bool:
        return self._ended

    def read(self, count: int) -> bytes:
        with self._changed:
            self._changed.wait_for(lambda: len(self._buffer) >= count or self._ended)
            if len(self._buffer) < count:
                raise EOFError
            data = bytes(self._buffer[:count])
            del self._buffer[:count]
        return data

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), _MOST_BYTES):
            with self._changed:
                self._unanswered += 1
            part = data[start : start + _MOST_BYTES]
            self._connection.send(_WRITE, self.own_id, self.their_id, part)
            with self._changed:
                self._changed.wait_for(lambda: self._unanswered == 0 or self._ended)
                if self._ended:
                    raise EOFError


class _ShellProtocol:
    """Packets that carry output and the exit status (`shell_protocol.h`)."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream
        self._input = bytearray()
        self._input_ended = False

    def run(self, command: Callable[[str, Console], int], text: str) -> None:
        status = command(text, self)
        self._stream.write(_SHELL_PACKET.pack(_EXIT, 1) + bytes([status & 0xFF]))

    def gone(self) -> bool:
        return self._stream.gone()

    def read(self, count: int) -> bytes:
        while len(self._input) < count and not self._input_ended:
            kind, size = _SHELL_PACKET.unpack(self._stream.read(_SHELL_PACKET.size))
            data = self._stream.read(size)
            if kind == _STDIN:
                self._input += data
            elif kind == _CLOSE_STDIN:
                self._input_ended = True
        if len(self._input) < count:
            raise EOFError
        data = bytes(self._input[:count])
        del self._input[:count]
        return data

    def write(self, data: bytes) -> None:
        if data:
            self._stream.write(_SHELL_PACKET.pack(_STDOUT, len(data)) + data)
