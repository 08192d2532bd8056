"""Checks of native libraries, manifest and APK that need no phone; each returns what is wrong."""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from fedvoice.android_harness.emulation import elf

PAGE_BYTES = 16 * 1024
"""Phones with pages of 16 KB exist since Android 15; what is aligned for them suits 4 KB too."""

_API_OF_VERSION = {
    "LIBC": 21,
    "LIBC_N": 24,
    "LIBC_O": 26,
    "LIBC_P": 28,
    "LIBC_Q": 29,
    "LIBC_R": 30,
    "LIBC_S": 31,
    "LIBC_T": 33,
    "LIBC_U": 34,
    "LIBC_V": 35,
}
"""bionic marks each symbol with the release that brought it: its own symbol map files."""

_UNVERSIONED = frozenset(
    {
        "__android_log_assert",
        "__android_log_print",
        "__android_log_vprint",
        "__android_log_write",
    }
)
"""Of liblog, which has no versions; there since Android 1.5."""

_SYSTEM = frozenset({"libc.so", "libm.so", "libdl.so", "liblog.so", "libandroid.so"})

_PERMISSIONS = {
    "android.permission.INTERNET": "calls to the server",
    "android.permission.ACCESS_NETWORK_STATE": "is the network unmetered?",
    "android.permission.RECEIVE_BOOT_COMPLETED": "a persisted job survives a restart",
    "android.permission.RECORD_AUDIO": "dictation",
    "android.permission.FOREGROUND_SERVICE": "training that a person started and watches",
    "android.permission.FOREGROUND_SERVICE_DATA_SYNC": "the kind of that service, since API 34",
    "android.permission.POST_NOTIFICATIONS": "its notification, since API 33",
}
_ANDROID = "{http://schemas.android.com/apk/res/android}"


def unmet_imports(libraries: Sequence[Path], min_api: int) -> list[str]:
    """Symbols that neither Android at `min_api` nor another of `libraries` has."""
    table = {library.name: elf.symbols(library) for library in libraries}
    defined = {s.name for symbols in table.values() for s in symbols if s.is_defined}
    wrong = []
    for name, symbols in table.items():
        for symbol in symbols:
            if symbol.is_defined or symbol.is_weak or symbol.name in defined:
                continue
            if symbol.version:
                api = _API_OF_VERSION.get(symbol.version)
                if api is None or api > min_api:
                    wrong.append(f"{name}: {symbol.name}@{symbol.version} is not in API {min_api}")
            elif symbol.name not in _UNVERSIONED:
                wrong.append(f"{name}: {symbol.name} is in no library")
    own = {library.name for library in libraries} | _SYSTEM
    for library in libraries:
        wrong += [f"{library.name} needs {n}" for n in elf.needed(library) if n not in own]
    return wrong


def misaligned_segments(libraries: Iterable[Path]) -> list[str]:
    """Libraries with a segment that a phone with 16 KB pages cannot map."""
    return [
        f"{library.name}: segment aligned to {alignment} bytes"
        for library in libraries
        for alignment in elf.load_alignments(library)
        if alignment % PAGE_BYTES
    ]


def unregistered_operators(operators: Iterable[str], runtime: bytes) -> list[str]:
    """Those of a package's operators (and delegates) whose names libexecutorch.so does not hold."""
    return sorted(name for name in operators if f"{name}\0".encode() not in runtime)


def manifest_faults(path: Path, api: int) -> list[str]:
    """Permissions without a reason, cleartext traffic, exported parts that nothing guards."""
    root = ET.parse(path).getroot()
    application = root.find("application")
    assert application is not None, f"{path} has an application"
    wrong = []
    for permission in root.findall("uses-permission"):
        name = permission.get(f"{_ANDROID}name", "")
        if name not in _PERMISSIONS:
            wrong.append(f"permission {name} is on no list of reasons")
    # Without the attribute cleartext is allowed up to API 27 only.
    if application.get(f"{_ANDROID}usesCleartextTraffic", "false") != "false":
        wrong.append("cleartext traffic is allowed")
    if application.get(f"{_ANDROID}allowBackup") == "true":
        wrong.append("backups would carry speech off the phone")
    for part in application:
        name = part.get(f"{_ANDROID}name", "")
        exported = part.get(f"{_ANDROID}exported")
        launcher = any("LAUNCHER" in c.get(f"{_ANDROID}name", "") for c in part.iter("category"))
        guarded = part.get(f"{_ANDROID}permission") is not None
        if exported == "true" and not (launcher or guarded):
            wrong.append(f"{name} is exported and nothing guards it")
        if exported is None and part.find("intent-filter") is not None and api >= 31:
            wrong.append(f"{name} has an intent filter and does not say whether it is exported")
    return wrong


def apk_faults(path: Path, *, extracted: bool) -> list[str]:
    """Native libraries in the APK that cannot be mapped from it; files that it lacks.

    Args:
        extracted: whether the manifest asks for libraries to be taken out when the app is
            installed (`extractNativeLibs`): they may lie in the file as they like.
    """
    wrong = []
    with zipfile.ZipFile(path) as apk, path.open("rb") as file:
        names = set(apk.namelist())
        for info in apk.infolist():
            if extracted or not info.filename.endswith(".so"):
                continue
            file.seek(info.header_offset + 26)
            name_bytes, extra_bytes = struct.unpack("<HH", file.read(4))
            start = info.header_offset + 30 + name_bytes + extra_bytes
            if info.compress_type != zipfile.ZIP_STORED:
                wrong.append(f"{info.filename} is compressed")
            elif start % PAGE_BYTES:
                wrong.append(f"{info.filename} starts at {start}, not at a multiple of 16 KB")
    wanted = {"AndroidManifest.xml", "classes.dex", "resources.arsc"}
    return wrong + [f"no {name} in the APK" for name in sorted(wanted - names)]
