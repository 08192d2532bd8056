"""The process's resident memory, read from /proc (Linux and Android)."""

from __future__ import annotations

from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def resident_bytes() -> int:
    """Resident set now; 0 where the system does not tell."""
    return _status_bytes("VmRSS")


class PeakMemory:
    """Growth of the resident set over a base line.

    The kernel's own high-water mark is used where it may be reset; else the largest of the
    samples taken by `sample`, which misses what is freed between two of them.

    Args:
        baseline_bytes: what was resident before the measured thing existed; None: what is now.
    """

    def __init__(self, baseline_bytes: int | None = None) -> None:
        now = resident_bytes()
        self._baseline = now if baseline_bytes is None else baseline_bytes
        self._largest = now
        self._kernel_peak = _reset_peak()

    def sample(self) -> None:
        """Look at the resident set; cheap where the kernel keeps the peak itself."""
        if not self._kernel_peak:
            self._largest = max(self._largest, resident_bytes())

    def growth_bytes(self) -> int:
        """Peak since the start minus the base line, at least 0."""
        if self._kernel_peak:
            self._largest = max(self._largest, _status_bytes("VmHWM"))
        self._largest = max(self._largest, resident_bytes())
        return max(0, self._largest - self._baseline)


def _status_bytes(field: str) -> int:
    try:
        for line in _STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def _reset_peak() -> bool:
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK, encoding="ascii")
    except OSError:
        return False
    return _status_bytes("VmHWM") > 0
