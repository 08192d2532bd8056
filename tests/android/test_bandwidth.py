"""A narrow line, made by the kernel: a network namespace behind a pair of virtual cables whose
ends pass so many bits a second and no more (`tc tbf`)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedvoice.android_harness.emulation.jvm import find_phone
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import WEIGHTS_FILE, TaskPackage
from fedvoice.server.app import AggregationServer
from fedvoice.server.config import ServerConfig
from tests.android.jvm import needs_phone
from tests.android.support import END_SECS

BITS_PER_SEC = 4_000_000
HOST, PHONE = "10.231.77.1", "10.231.77.2"
PLAN = TrainingPlan(batch_size=2, local_epochs=2, client_rate=0.05, seed=4)


def _lacking() -> str:
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    missing = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
    return f"no {' and no '.join(missing)} here: apt-get install iproute2" if missing else ""


pytestmark = [
    pytest.mark.slow,
    needs_phone,
    pytest.mark.skipif(bool(_lacking()), reason=_lacking() or "nothing is lacking"),
]


@dataclass(frozen=True)
class Cable:
    """The host's end of it. namespace: of the phone, whose only way out is this cable."""

    device: str
    namespace: str

    def counts(self) -> tuple[int, int]:
        """Bytes from the phone and to it, heads of packets included."""
        folder = Path("/sys/class/net") / self.device / "statistics"
        return tuple(int((folder / name).read_text()) for name in ("rx_bytes", "tx_bytes"))  # type: ignore[return-value]


@contextmanager
def narrow_cable() -> Iterator[Cable]:
    """Lay it; it is taken away again whatever happens."""
    name = f"fedvoice{os.getpid()}"
    cable = Cable(f"fv{os.getpid()}", name)
    there = f"{cable.device}p"
    inside = f"ip -n {name}"
    shape = f"root tbf rate {BITS_PER_SEC}bit burst 16kb latency 200ms"

    def cleared(*command: str) -> None:
        subprocess.run(command, capture_output=True, check=False)

    with ExitStack() as cleanup:
        for command in (
            f"ip netns add {name}",
            f"ip link add {cable.device} type veth peer name {there} netns {name}",
            f"ip address add {HOST}/30 dev {cable.device}",
            f"ip link set {cable.device} up",
            f"{inside} address add {PHONE}/30 dev {there}",
            f"{inside} link set {there} up",
            f"tc qdisc add dev {cable.device} {shape}",
            f"tc -n {name} qdisc add dev {there} {shape}",
        ):
            done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"this machine's kernel does not do `{command}`: {done.stderr.strip()}")
            if "netns add" in command:
                cleanup.callback(cleared, "ip", "netns", "delete", name)
            if "link add" in command:
                cleanup.callback(cleared, "ip", "link", "delete", cable.device)
        yield cable


def one_round(
    task: TaskPackage, manifest: Path, directory: Path, host: str, prefix: tuple[str, ...] = ()
) -> tuple[bytes, str]:
    """The model after one phone's round, and the phone's log."""
    config = ServerConfig.model_validate(
        {
            "bind": f"{host}:0",
            "insecure": True,
            "rounds": 1,
            "cohort_size": 1,
            "retry": {"least_secs": 0.01, "most_secs": 0.05},
            "plan": PLAN.model_dump(),
        }
    )
    server = AggregationServer(config, task, directory / "store")
    phone = find_phone()
    command = ["run", "--server", server.start(), "--state", str(directory / "phone")]
    command += ["--data", str(manifest), "--client-id", "anna"]
    try:
        done = subprocess.run(
            [*prefix, *phone.command(*command)],
            env=phone.environment(),
            capture_output=True,
            text=True,
            timeout=END_SECS,
            check=False,
        )
    finally:
        server.stop(grace_secs=0.2)
    assert done.returncode == 0, done.stderr
    return (directory / "store" / WEIGHTS_FILE).read_bytes(), done.stderr


def test_a_narrow_line_changes_nothing_and_the_books_are_the_lines(
    task: TaskPackage, manifest: Path, tmp_path: Path
) -> None:
    model, _ = one_round(task, manifest, tmp_path / "wide", "127.0.0.1")
    with narrow_cable() as cable:
        before, started = cable.counts(), time.monotonic()
        prefix = ("ip", "netns", "exec", cable.namespace)
        slow, log = one_round(task, manifest, tmp_path / "narrow", HOST, prefix)
        secs = time.monotonic() - started
        up, down = (now - then for now, then in zip(cable.counts(), before, strict=True))
    assert slow == model

    booked = [re.search(r"(\d+) bytes up, (\d+) down", line) for line in log.splitlines()]
    sent, received = (sum(int(line[i]) for line in booked if line) for i in (1, 2))
    assert received > task.program_path.stat().st_size
    assert secs > 8 * received / BITS_PER_SEC - 1, "the line was not narrow"
    # Beyond the messages: heads of packets and frames, acknowledgements of what came the other way.
    assert received <= down <= 1.1 * received + 0.1 * sent + 20_000
    assert sent <= up <= 1.1 * sent + 0.1 * received + 20_000
    assert not Path("/sys/class/net", cable.device).exists()
