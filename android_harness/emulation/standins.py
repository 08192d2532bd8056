"""Stand-ins for Android's system libraries, so that its x86_64 binaries load on desktop Linux.

An Android library imports symbols with versions (`fwrite@LIBC`) from `libc.so`, `libm.so`,
`libdl.so`, `liblog.so` and `libandroid.so`. `build` makes libraries of these names: each import
becomes a jump to glibc's function of that name, or to the adapted one in `bionic/libc.c` where
name, numbers or layout differ. The Android libraries themselves are not touched.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedvoice.android_harness.emulation import elf
from fedvoice.protocol.errors import ErrorCode, FedvoiceError

SOURCES = Path(__file__).resolve().parent / "bionic"
_VERSIONS = ("LIBC", *(f"LIBC_{letter}" for letter in "NOPQRSTU"))
_EMPTY_LIBRARIES = ("libm.so", "libdl.so", "libandroid.so")
_ADAPTED = re.compile(r"^[^\s/].*?\bb_(\w+)\s*\(", re.MULTILINE)
_ADAPTED_DATA = frozenset({"stdin", "stdout", "stderr", "__sF"})


@dataclass(frozen=True)
class Import:
    """One symbol that an Android library wants from the system."""

    name: str
    version: str
    is_data: bool


def build(libraries: Sequence[Path], directory: Path) -> list[Import]:
    """Write the stand-ins that `libraries` need into `directory`; returns the imports served.

    Raises:
        FedvoiceError: `missing-operator` if a library imports what neither glibc nor
            `bionic/libc.c` has; `missing-extra` without a C compiler or binutils.
    """
    imports = system_imports(libraries)
    source = (SOURCES / "libc.c").read_text(encoding="utf-8")
    adapted = set(_ADAPTED.findall(source)) | _ADAPTED_DATA
    known = adapted | _glibc_symbols()
    missing = sorted({i.name for i in imports if i.name not in known})
    if missing:
        raise FedvoiceError(
            ErrorCode.MISSING_OPERATOR,
            where=", ".join(path.name for path in libraries),
            got=f"imports of {', '.join(missing)}",
            wanted="functions that glibc or bionic/libc.c has",
            next_step="Add them to android_harness/emulation/bionic/libc.c.",
        )
    work = directory / "standins"
    work.mkdir(parents=True, exist_ok=True)
    (work / "jumps.S").write_text(_jumps(imports, adapted), encoding="utf-8")
    (work / "versions.map").write_text(_version_map(), encoding="utf-8")
    (work / "anchors.c").write_text(
        "".join(f"int standin_{version};\n" for version in _VERSIONS), encoding="utf-8"
    )
    data = "".join(
        f'__asm__(".symver b_{i.name}, {i.name}@{i.version}");\n' for i in imports if i.is_data
    )
    (work / "libc.c").write_text(source + data, encoding="utf-8")
    versioned = [f"-Wl,--version-script,{work / 'versions.map'}", str(work / "anchors.c")]
    _compile(
        directory / "libc.so",
        [*versioned, str(work / "jumps.S"), str(work / "libc.c"), "-lm", "-ldl", "-lpthread"],
    )
    for name in _EMPTY_LIBRARIES:
        _compile(directory / name, versioned)
    _compile(directory / "liblog.so", [str(SOURCES / "liblog.c")])
    _compile(directory / "libdeepbind.so", [str(SOURCES / "deepbind.c"), "-ldl"])
    return imports


def system_imports(libraries: Iterable[Path]) -> list[Import]:
    """The versioned symbols that `libraries` import from the Android system."""
    found = {
        Import(symbol.name, symbol.version, symbol.is_data)
        for library in libraries
        for symbol in elf.symbols(library)
        if not symbol.is_defined and symbol.version.startswith("LIBC")
    }
    return sorted(found, key=lambda i: (i.name, i.version))


def _jumps(imports: Sequence[Import], adapted: set[str]) -> str:
    lines = [".text"]
    for number, item in enumerate(imports):
        if item.is_data:
            continue
        target = f"b_{item.name}" if item.name in adapted else item.name
        label = f"jump{number}"
        lines += [
            f".globl {label}",
            f".type {label},@function",
            f"{label}: endbr64",
            f" jmp *{target}@GOTPCREL(%rip)",
            f".size {label},.-{label}",
            f".symver {label}, {item.name}@{item.version}",
        ]
    lines.append('.section .note.GNU-stack,"",@progbits')
    return "\n".join(lines) + "\n"


def _version_map() -> str:
    hidden = " local: jump*; b_*;"
    return "".join(
        f"{version} {{ global: standin_{version};{hidden if version == 'LIBC' else ''} }};\n"
        for version in _VERSIONS
    )


def _glibc_symbols() -> set[str]:
    symbols = set()
    for name in ("libc.so.6", "libm.so.6"):
        path = _run("gcc", f"-print-file-name={name}").strip()
        for line in _run("nm", "-D", "--defined-only", path).splitlines():
            symbols.add(line.split()[-1].partition("@")[0])
    return symbols


def _compile(library: Path, arguments: Sequence[str]) -> None:
    _run(
        "gcc", "-O2", "-fPIC", "-shared", f"-Wl,-soname,{library.name}",
        "-o", str(library), *arguments,
    )  # fmt: skip


def _run(*command: str) -> str:
    try:
        return subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=300
        ).stdout
    except FileNotFoundError as error:
        raise FedvoiceError(
            ErrorCode.MISSING_EXTRA,
            where="stand-ins for Android's libraries",
            got=f"no program {command[0]}",
            wanted="gcc and binutils",
            next_step="Install them: apt-get install gcc binutils.",
        ) from error
    except subprocess.CalledProcessError as error:
        raise FedvoiceError(
            ErrorCode.BAD_PACKAGE,
            where=" ".join(command[:3]),
            got=error.stderr.strip()[-300:] or f"exit code {error.returncode}",
            wanted="stand-ins for Android's libraries",
            next_step="This needs x86_64 Linux with glibc; `fedvoice doctor` says what is there.",
        ) from error
