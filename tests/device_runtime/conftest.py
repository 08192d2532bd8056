"""A scripted server and a phone that calls it, ended with the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedvoice.protocol.codec import digest_of, encode
from tests.device_runtime.hut import MANIFEST_BYTES, PROGRAM, WEIGHTS, Hut
from tests.device_runtime.scripted_server import Script, ScriptedServer


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    script = Script()
    for data in (MANIFEST_BYTES, PROGRAM, encode(WEIGHTS, "float32")):
        script.blobs[digest_of(data)] = data
    server = ScriptedServer(script)
    yield server
    server.stop()


@pytest.fixture
def hut(tmp_path: Path, server: ScriptedServer) -> Iterator[Hut]:
    hut = Hut(tmp_path, server.address)
    yield hut
    hut.channel.close()
