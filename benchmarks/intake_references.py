"""Three servers to compare `fedvoice serve` with: what no server of these messages can do without.

    python -m benchmarks.intake_references bare|working|durable --model FILE --ready-file FILE

bare: reads every update and keeps nothing. working: also hashes, checks and folds each chunk as it
comes. durable: also writes the payload to a file of its own, synced before the answer. They speak
enough of the protocol for the benchmark's clients, in one `grpc.aio` loop with the product's
flow control, and end when their stdin closes.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from fedvoice.algorithm.aggregation import Accumulator, Inspection
from fedvoice.protocol.codec import digest_of
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.server.intake.framing import SERVER_OPTIONS, chunk_data, chunk_message
from fedvoice.server.security.authority import Authority
from fedvoice.server.security.listen import bind_insecure, bind_secure

_CHUNK_BYTES = 512 * 1024
_MOST_FILES = 64
"""The durable server's payloads that are kept; a round's are dropped when it ends."""
_MAX_ABS, _GRID_BITS, _WEIGHT = 16.0, 32, 10


class Upload:
    """What one update costs beside its transfer."""

    def __init__(self, work: str, total: Accumulator, path: Path) -> None:
        self._total, self._start = total, 0
        self._look = None if work == "bare" else Inspection(_MAX_ABS)
        self._hash = hashlib.sha256()
        flags = os.O_WRONLY | os.O_CREAT
        self._file = os.open(path, flags) if work == "durable" else None

    def take(self, data: memoryview) -> None:
        """A chunk, of whole floats."""
        if self._look is not None:
            self._hash.update(data)
            values = np.frombuffer(data, "<f4")
            self._look.take(values)
            self._start = self._total.add(values, _WEIGHT, self._start)
        if self._file is not None:
            os.write(self._file, data)

    def finish(self, digest: str) -> bool:
        """Whether it is what was announced; synced, if it is kept."""
        if self._file is not None:
            os.fsync(self._file)
            os.close(self._file)
        if self._look is None:
            return True
        return self._hash.hexdigest() == digest and self._look.facts.finite


class Reference:
    """The three calls."""

    def __init__(self, work: str, model: bytes, folder: Path) -> None:
        self._work, self._folder, self._uploads = work, folder, 0
        self._blob = pb.Blob(digest=digest_of(model), size_bytes=len(model), encoding="float32")
        self._parts = [
            chunk_message(model[at : at + _CHUNK_BYTES])
            for at in range(0, len(model), _CHUNK_BYTES)
        ]
        self._total = Accumulator(len(model) // 4, grid_bits=_GRID_BITS, max_abs=_MAX_ABS)

    def handlers(self) -> grpc.GenericRpcHandler:
        """Under the product's names, messages as bytes."""
        calls = {
            "CheckIn": grpc.unary_unary_rpc_method_handler(self.check_in),
            "Fetch": grpc.unary_stream_rpc_method_handler(self.fetch),
            "Report": grpc.stream_unary_rpc_method_handler(self.report),
        }
        return grpc.method_handlers_generic_handler("fedvoice.v1.Aggregation", calls)

    async def check_in(self, request: bytes, context: Any) -> bytes:
        """Work for everybody."""
        given = pb.Assignment(assignment_id="work", round=1, weights=self._blob)
        return pb.CheckInReply(assignment=given).SerializeToString()

    async def fetch(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """The weights, serialised once."""
        for part in self._parts:
            yield part

    async def report(self, _: object, context: Any) -> bytes:
        """Read to the end, then answer."""
        header = pb.ReportRequest.FromString(await context.read()).header
        path = self._folder / f"payload-{self._uploads % _MOST_FILES}"
        self._uploads += 1
        if self._work == "durable":
            path.unlink(missing_ok=True)
        upload = Upload(self._work, self._total, path)
        while (message := await context.read()) is not grpc.aio.EOF:
            data = chunk_data(message)
            assert data is not None, "chunks follow the header"
            upload.take(data)
        loop = asyncio.get_running_loop()
        good = await loop.run_in_executor(None, upload.finish, header.payload.digest)
        verdict = pb.VERDICT_ACCEPTED if good else pb.VERDICT_WRONG_DIGEST
        return pb.ReportReply(verdict=verdict).SerializeToString()


async def serve(options: argparse.Namespace) -> None:
    """Until stdin closes."""
    server = grpc.aio.server(options=SERVER_OPTIONS)
    reference = Reference(options.work, options.model.read_bytes(), options.ready_file.parent)
    server.add_generic_rpc_handlers((reference.handlers(),))
    if options.authority is None:
        address = bind_insecure(server, "127.0.0.1:0")
    else:
        authority = Authority(options.authority)
        address = bind_secure(server, "127.0.0.1:0", authority, ["127.0.0.1"], phones_only=True)
    await server.start()
    aside = options.ready_file.with_suffix(".part")
    aside.write_text(address)
    aside.replace(options.ready_file)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(0)


def main() -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=("bare", "working", "durable"))
    parser.add_argument("--model", type=Path, required=True, help="float32 weights")
    parser.add_argument("--ready-file", type=Path, required=True)
    parser.add_argument("--authority", type=Path, help="a store's folder: TLS by its authority")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
