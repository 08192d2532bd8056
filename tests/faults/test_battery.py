"""The battery is not drained by retries: what a phone asks of the line in a simulated day."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fedvoice.android_harness.emulation.jvm import why_not
from fedvoice.android_harness.emulation.proxy import FaultProxy
from fedvoice.device_runtime.blobs import BlobCache
from fedvoice.device_runtime.calls import connect
from fedvoice.device_runtime.cli import run
from fedvoice.device_runtime.conditions import always
from fedvoice.device_runtime.engines import EngineCache
from fedvoice.device_runtime.retries import CallPolicy
from fedvoice.device_runtime.session import Phone
from fedvoice.device_runtime.store import ExampleStore
from tests.android.support import started
from tests.device_runtime.scripted_server import Script, ScriptedServer

DAY_SECS = 86_400.0
MOST_TRIES = 250


class Day:
    """Stands for the event that stops a phone: set when a day has been waited through."""

    def __init__(self) -> None:
        self.waited_secs = 0.0

    def is_set(self) -> bool:
        return self.waited_secs >= DAY_SECS

    def wait(self, secs: float) -> bool:
        self.waited_secs += secs
        return self.is_set()


def live_through(state: Path, line: FaultProxy) -> int:
    """A phone's day; calls tried."""
    day, tries = Day(), 0
    phone = Phone(
        "phone",
        state,
        store=ExampleStore(state / "examples.sqlite"),
        channel=None,
        server=line.address,
        engines=EngineCache(lambda _: pytest.fail("no work is given")),
        blobs=BlobCache(state / "blobs"),
        conditions=always(),
        sleep=day.wait,
    )

    @contextmanager
    def connected() -> Iterator[None]:
        with connect(line.address) as channel:
            phone.connected(channel, None)
            yield

    def counted(secs: float) -> bool:
        nonlocal tries
        tries += 1
        return day.wait(secs)

    phone._sleep = counted  # one pause follows every try but a session's last
    assert not run(phone, day, once=False, connected=connected)  # type: ignore[arg-type]
    return tries


@pytest.mark.parametrize("server", ["dead", "refusing", "flapping"])
def test_a_phone_does_not_run_its_battery_down_at_a_server_that_is_away(tmp_path, server):
    tmp_path.joinpath("phone").mkdir()
    with FaultProxy("127.0.0.1:1") as line:
        line.flight_mode = server == "refusing"
        scripted = ScriptedServer(Script()) if server == "flapping" else None
        if scripted is not None:
            # It takes connections and breaks them in the middle of the first call.
            line.target, line.most_bytes_up = scripted.address, 60
        tries = live_through(tmp_path / "phone", line)
        if scripted is not None:
            scripted.stop()
            assert scripted.messages == []
        assert tries > 0
        assert tries <= MOST_TRIES
        # Connections too: a channel of gRPC's own accord must not go on knocking.
        assert 0 < line.counts.attempts <= MOST_TRIES


LOOKS = 2
"""Connections beside the calls, after the first one failed: why is it that nobody answers?"""


@pytest.mark.slow
@pytest.mark.parametrize("server", ["dead", "refusing", "flapping"])
def test_a_kotlin_phone_tries_a_few_times_and_then_leaves_the_line_alone(tmp_path, server):
    # How long it leaves it alone, and what comes together in a day: core's RetriesTest.
    if lacking := why_not():
        pytest.skip(f"the Kotlin phone does not run here: {'; '.join(lacking)}")
    scripted = ScriptedServer(Script())
    with FaultProxy("127.0.0.1:1") as line:
        line.flight_mode = server == "refusing"
        if server == "flapping":
            line.target, line.most_bytes_up = scripted.address, 60
        command = ["run", "--server", line.address, "--state", tmp_path, "--backoff-secs", 0.01]
        with started(*command) as process:
            assert process.stderr is not None
            log = ""
            for text in process.stderr:
                log += text
                if "server-unreachable" in text:
                    break
            assert re.search(r"again in \d\d s", log), log
            tried = line.counts.attempts
            assert 0 < tried <= CallPolicy().max_attempts + LOOKS
            # gRPC by itself would knock again after a second.
            time.sleep(3)
            assert line.counts.attempts == tried
            assert process.poll() is None
    scripted.stop()
