"""What a shared library imports and how it is laid out, as `readelf` tells it."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from fedvoice.protocol.errors import ErrorCode, FedvoiceError

_SYMBOL = re.compile(
    r"\s*\d+:\s+\S+\s+\d+\s+(?P<kind>\S+)\s+(?P<binding>\S+)\s+\S+\s+(?P<section>\S+)\s+"
    r"(?P<name>[^\s@]+)(?:@+(?P<version>\S+))?"
)
_LOAD = re.compile(r"\s*LOAD\s.*\s(0x[0-9a-f]+)\s*$")
_NEEDED = re.compile(r".*\(NEEDED\).*\[(.+)\]")


@dataclass(frozen=True)
class Symbol:
    """A dynamic symbol. version: of the system library it comes from, e.g. `LIBC_N`, or ""."""

    name: str
    version: str
    is_data: bool
    is_weak: bool
    is_defined: bool


def symbols(library: Path) -> list[Symbol]:
    """The dynamic symbols of a library.

    Raises:
        FedvoiceError: `missing-extra` without binutils, `bad-package` for what is no library.
    """
    found = []
    for line in _readelf("--dyn-syms", library).splitlines():
        if match := _SYMBOL.match(line):
            found.append(
                Symbol(
                    name=match["name"],
                    version=match["version"] or "",
                    is_data=match["kind"] == "OBJECT",
                    is_weak=match["binding"] == "WEAK",
                    is_defined=match["section"] != "UND",
                )
            )
    return found


def load_alignments(library: Path) -> list[int]:
    """Alignment in bytes of each segment that is mapped into memory."""
    lines = _readelf("-l", library).splitlines()
    return [int(match[1], 16) for line in lines if (match := _LOAD.match(line))]


def needed(library: Path) -> list[str]:
    """Names of the libraries that this one asks for."""
    lines = _readelf("-d", library).splitlines()
    return [match[1] for line in lines if (match := _NEEDED.match(line))]


def _readelf(what: str, library: Path) -> str:
    try:
        return subprocess.run(
            ["readelf", "-W", what, str(library)], check=True, capture_output=True, text=True
        ).stdout
    except FileNotFoundError as error:
        raise FedvoiceError(
            ErrorCode.MISSING_EXTRA,
            where=str(library),
            got="no program readelf",
            wanted="binutils",
            next_step="Install it: apt-get install binutils.",
        ) from error
    except subprocess.CalledProcessError as error:
        raise FedvoiceError(
            ErrorCode.BAD_PACKAGE,
            where=str(library),
            got=error.stderr.strip()[-200:],
            wanted="a shared library",
            next_step="Build the natives again: rm -r build/android/natives, then make android.",
        ) from error
