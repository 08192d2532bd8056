"""What `fedvoice doctor` says of the machine itself: disk, memory, proxies, GPU."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from fedvoice.protocol.addresses import PROXY_VARIABLES
from fedvoice.protocol.cost import human_bytes

LEAST_DISK_BYTES = 2_000_000_000
LEAST_MEMORY_BYTES = 3_000_000_000
LEAST_SHARED_BYTES = 64_000_000
_GPU_SECS = 10


@dataclass(frozen=True)
class Check:
    """One requirement.

    Args:
        job: the job that needs it. found: what was found, or why it is insufficient.
        next_step: what to do if it is missing.
    """

    job: str
    name: str
    ok: bool
    found: str
    next_step: str = ""


def machine_checks(job: str, meminfo: Path = Path("/proc/meminfo")) -> list[Check]:
    """Free disk, memory and shared memory, proxies, GPU."""
    return [
        _room(job, "disk", Path.cwd(), LEAST_DISK_BYTES, "Free some, or run on another disk."),
        _memory(job, meminfo),
        _room(
            job,
            "shared memory",
            Path("/dev/shm"),
            LEAST_SHARED_BYTES,
            "Enlarge /dev/shm (of a container: --shm-size 1g): worker processes use it.",
        ),
        _proxies(job),
        _gpu(job),
    ]


def _room(job: str, name: str, path: Path, least_bytes: int, next_step: str) -> Check:
    try:
        free = shutil.disk_usage(path).free
    except OSError as error:
        return Check(job, name, True, f"{path}: {error.strerror or error}, not looked at")
    found = f"{human_bytes(free)} free at {path}"
    if free >= least_bytes:
        return Check(job, name, True, found)
    return Check(job, name, False, f"{found}, wanted {human_bytes(least_bytes)}", next_step)


def _memory(job: str, meminfo: Path) -> Check:
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvail"))
    except (OSError, StopIteration, ValueError, IndexError):
        return Check(job, "memory", True, "not known on this system")
    found = f"{human_bytes(free)} available"
    if free >= LEAST_MEMORY_BYTES:
        return Check(job, "memory", True, found)
    way_out = "Close other programs, or give fewer processes (--processes 1)."
    return Check(
        job, "memory", False, f"{found}, wanted {human_bytes(LEAST_MEMORY_BYTES)}", way_out
    )


def _proxies(job: str) -> Check:
    named = [name for name in PROXY_VARIABLES if os.environ.get(name)]
    if not named:
        return Check(job, "proxies", True, "none")
    found = f"{', '.join(named)} set: calls to other machines go through it, unless no_proxy "
    return Check(job, "proxies", True, f"{found}names them; calls on this machine never do")


def _gpu(job: str) -> Check:
    program = shutil.which("nvidia-smi")
    if program is None:
        return Check(job, "GPU", True, "none; none is needed")
    command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_GPU_SECS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return Check(job, "GPU", True, "nvidia-smi does not answer; none is needed")
    found = "; ".join(done.stdout.split("\n")[:-1]) if done.returncode == 0 else ""
    return Check(job, "GPU", True, found or "nvidia-smi finds none; none is needed")
