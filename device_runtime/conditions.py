"""When a phone may work: on the charger, not in use, on an unmetered network."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fedvoice.protocol.generated import fedvoice_pb2 as pb


@dataclass(frozen=True)
class Conditions:
    """The state of the phone now; None: the device does not say, and nobody looks at it."""

    charging: bool = True
    idle: bool = True
    unmetered: bool = True
    battery_percent: int | None = 100
    free_storage_bytes: int | None = None
    free_memory_bytes: int | None = None

    def to_message(self) -> pb.Conditions:
        """The wire form; what is not known is not sent."""
        return pb.Conditions(
            charging=self.charging,
            idle=self.idle,
            unmetered=self.unmetered,
            battery_percent=self.battery_percent,
            free_storage_bytes=self.free_storage_bytes,
            free_memory_bytes=self.free_memory_bytes,
        )


class ConditionSource(Protocol):
    """Where conditions are read."""

    def read(self) -> Conditions:
        """The conditions now; cheap, called between any two steps."""


@dataclass(frozen=True)
class Requirements:
    """What must hold for a phone to work; `unmetered` is not looked at while it trains."""

    charging: bool = True
    idle: bool = True
    unmetered: bool = True
    min_battery_percent: int = 0

    def missing(self, conditions: Conditions, *, network: bool = True) -> list[str]:
        """What does not hold, in words; nothing: the phone may work."""
        checks = [
            ("not charging", self.charging and not conditions.charging),
            ("in use", self.idle and not conditions.idle),
            ("on a metered network", network and self.unmetered and not conditions.unmetered),
        ]
        return [name for name, fails in checks if fails] + self.harmful(conditions)

    def harmful(self, conditions: Conditions) -> list[str]:
        """What of `missing` wears the phone out: work stops for it without a grace."""
        percent = conditions.battery_percent
        low = percent is not None and percent < self.min_battery_percent
        return [f"battery at {percent}%"] if low else []


class Interruption:
    """Poll -> grace -> stop: call it between steps; True once conditions were lost for too long.

    Conditions that come back within the grace are as if never lost. For what is harmful there is
    no grace. Once True it stays True.
    """

    def __init__(
        self,
        source: ConditionSource,
        requirements: Requirements,
        grace_secs: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._requirements = requirements
        self._grace_secs = grace_secs
        self._clock = clock
        self._lost_at: float | None = None
        self.reasons: list[str] = []
        """Why it stopped."""

    def __call__(self) -> bool:
        if self.reasons:
            return True
        conditions = self._source.read()
        missing = self._requirements.missing(conditions, network=False)
        if not missing:
            self._lost_at = None
            return False
        now = self._clock()
        if self._lost_at is None:
            self._lost_at = now
        harmful = self._requirements.harmful(conditions)
        if harmful or now - self._lost_at >= self._grace_secs:
            self.reasons = missing
        return bool(self.reasons)


class ScriptedConditions:
    """An emulated phone's conditions over time: (from_secs, conditions) steps from construction.

    Before the first step the first one's conditions hold.
    """

    def __init__(
        self,
        steps: Sequence[tuple[float, Conditions]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._steps = sorted(steps, key=lambda step: step[0])
        self._clock = clock
        self._started = clock()

    def read(self) -> Conditions:
        """The conditions of the last step that has begun."""
        elapsed = self._clock() - self._started
        begun = [conditions for from_secs, conditions in self._steps if from_secs <= elapsed]
        return begun[-1] if begun else self._steps[0][1]


def always(conditions: Conditions | None = None) -> ScriptedConditions:
    """A phone whose conditions never change; by default all is well."""
    return ScriptedConditions([(0.0, conditions or Conditions())])


class LinuxConditions:
    """What a Linux machine says of itself; a machine without a battery counts as charging.

    Linux has no common notion of a screen in use or of a metered network: both are given.

    Args:
        state_dir: on the file system whose free space counts.
        system_dir: `/sys`, or a copy of it.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        idle: bool = True,
        unmetered: bool = True,
        system_dir: Path = Path("/sys"),
    ) -> None:
        self._state_dir = state_dir
        self._idle = idle
        self._unmetered = unmetered
        self._supplies_dir = system_dir / "class" / "power_supply"

    def read(self) -> Conditions:
        """Read power supplies, disk and memory."""
        supplies = sorted(self._supplies_dir.iterdir()) if self._supplies_dir.is_dir() else []
        batteries = [s for s in supplies if _text(s / "type") == "Battery"]
        mains = [s for s in supplies if _text(s / "type") in ("Mains", "USB")]
        levels = [int(level) for s in batteries if (level := _text(s / "capacity")).isdigit()]
        return Conditions(
            charging=not batteries
            or any(_text(s / "online") == "1" for s in mains)
            or any(_text(s / "status") in ("Charging", "Full") for s in batteries),
            idle=self._idle,
            unmetered=self._unmetered,
            battery_percent=min(levels, default=None),
            free_storage_bytes=shutil.disk_usage(self._state_dir).free,
            free_memory_bytes=_available_memory_bytes(),
        )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _available_memory_bytes() -> int | None:
    for line in _text(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None
