"""The Kotlin phone as a process of this machine: where its build lies, and how it is started."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from fedvoice.protocol.errors import ErrorCode, FedvoiceError

MAIN_CLASS = "org.fedvoice.desktop.MainKt"
HEAP_MEGABYTES = 192
"""Java heap at most. Weights and arenas lie outside of it."""

_BUILD = Path(__file__).resolve().parents[2] / "build" / "android"
_WAY_OUT = (
    "Build it with `make android` in a checkout of fedvoice and run fedvoice from there; "
    "`fedvoice doctor` says what this machine lacks."
)


@dataclass(frozen=True)
class JvmPhone:
    """A phone that was built and can run here."""

    java: str
    jars: Path
    natives: Path

    def command(self, *arguments: str, heap_megabytes: int = HEAP_MEGABYTES) -> list[str]:
        """The command line of one process: `run`, `fleet` and so on with their arguments."""
        return [
            self.java,
            f"-Xmx{heap_megabytes}m",
            "-Xss512k",
            "-XX:+UseSerialGC",  # several phones share this machine's cores
            f"-Djava.library.path={self.natives / 'libs'}",
            f"-Dfedvoice.natives={self.natives}",
            "-cp",
            f"{self.jars}/*{os.pathsep}{self.natives / 'classes.jar'}",
            MAIN_CLASS,
            *arguments,
        ]

    def environment(self) -> dict[str, str]:
        """This process's environment, with the stand-ins for Android's libraries to be found."""
        return {**os.environ, "LD_LIBRARY_PATH": str(self.natives / "libs")}


def find_phone() -> JvmPhone:
    """The phone built in this checkout.

    Raises:
        FedvoiceError: `missing-extra` if it is not built, or this machine cannot run it.
    """
    lacking = why_not()
    if lacking:
        raise FedvoiceError(
            ErrorCode.MISSING_EXTRA,
            where="the Android phone",
            got="; ".join(lacking),
            wanted="the Kotlin phone and Android's ExecuTorch binary, built for this machine",
            next_step=_WAY_OUT,
        )
    return JvmPhone(str(java()), _BUILD / "phone", _BUILD / "natives")


def why_not() -> list[str]:
    """What is missing to run the phone here, in words; nothing: it runs."""
    checks = [
        (cannot_run(), not cannot_run()),
        ("no java on the path", java() is not None),
        ("Android's binaries are not built", natives_built()),
        ("the Kotlin phone is not built", phone_built()),
    ]
    return [what for what, there in checks if not there]


def cannot_run() -> str:
    """Why Android's x86_64 binary cannot run on this machine at all; empty: it can."""
    machine, libc = platform.machine(), platform.libc_ver()[0]
    if platform.system() != "Linux" or machine not in ("x86_64", "AMD64"):
        return f"{platform.system()} on {machine}, and the phone's binary is for Linux on x86_64"
    return "" if libc == "glibc" else f"the C library is {libc or 'unknown'} and not glibc"


def java() -> str | None:
    """The JVM to use: JAVA_HOME's, or the first on the path."""
    home = os.environ.get("JAVA_HOME")
    if home and (Path(home) / "bin" / "java").is_file():
        return str(Path(home) / "bin" / "java")
    return shutil.which("java")


def natives_built() -> bool:
    """Whether the binaries and the stand-ins lie there."""
    parts = ("classes.jar", "libs/libexecutorch.so", "libs/libdeepbind.so")
    return all((_BUILD / "natives" / part).is_file() for part in parts)


def phone_built() -> bool:
    """Whether the phone's class path lies there."""
    return any((_BUILD / "phone").glob("desktop-*.jar"))
