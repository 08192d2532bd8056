"""Whether a device can run the app and a task: asked before anything is changed on it."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

from fedvoice.android_harness.apk.build import MIN_API
from fedvoice.android_harness.apk.checks import unregistered_operators
from fedvoice.android_harness.deploy.adb import Adb
from fedvoice.protocol.cost import human_bytes
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.task import TaskManifest

_ROOM_FACTOR = 2
"""An app's file is there twice while it is being installed."""


@dataclass(frozen=True)
class DeviceFacts:
    """A device's reported facts. abis: the best first. free_bytes: of its data partition."""

    model: str
    api: int
    abis: tuple[str, ...]
    free_bytes: int


def read_facts(adb: Adb) -> DeviceFacts:
    """Ask the device.

    Raises:
        FedvoiceError: as `Adb`; `device-refused` for answers that make no sense.
    """
    model, api, abis, free = (
        adb.shell(command).strip()
        for command in (
            "getprop ro.product.model",
            "getprop ro.build.version.sdk",
            "getprop ro.product.cpu.abilist",
            "df -k /data | tail -n 1",
        )
    )
    try:
        return DeviceFacts(
            model=model,
            api=int(api),
            abis=tuple(abis.split(",")),
            free_bytes=int(free.split()[3]) * 1024,
        )
    except (ValueError, IndexError) as error:
        raise FedvoiceError(
            ErrorCode.DEVICE_REFUSED,
            where=f"device {adb.serial}",
            got=f"API level {api!r}, ABIs {abis!r}, df {free!r}",
            wanted="an Android device",
            next_step="Is this a phone or an emulator? `adb devices -l` says more.",
        ) from error


def check(
    facts: DeviceFacts, serial: str, apk: Path, manifest: TaskManifest | None, *, installed: bool
) -> str:
    """The ABI that the app will use.

    Args:
        installed: whether this very app is there already and needs no room.
        manifest: of the task whose operators the app's runtime must have; None: not looked at.

    Raises:
        FedvoiceError: `device-unfit` with everything that is wrong.
    """
    with zipfile.ZipFile(apk) as archive:
        names = archive.namelist()
        carried = {n.split("/")[1] for n in names if n.startswith("lib/") and n.endswith(".so")}
        abi = next((a for a in facts.abis if a in carried), "")
        runtime = archive.read(f"lib/{abi}/libexecutorch.so") if abi else b""
        own = (i for i in archive.infolist() if i.filename.startswith(f"lib/{abi}/"))
        extracted_bytes = sum(info.file_size for info in own)
    wrong = []
    if not abi:
        wrong.append(f"ABIs {', '.join(facts.abis)}, and the app has {', '.join(sorted(carried))}")
    if facts.api < MIN_API:
        wrong.append(f"API level {facts.api}, and the app needs {MIN_API}")
    needed_bytes = 0 if installed else _ROOM_FACTOR * apk.stat().st_size + extracted_bytes
    if facts.free_bytes < needed_bytes:
        wrong.append(
            f"{human_bytes(facts.free_bytes)} free, and the app needs {human_bytes(needed_bytes)}"
        )
    if manifest is not None and abi:
        missing = unregistered_operators([*manifest.operators, *manifest.delegates], runtime)
        if missing:
            wrong.append(f"a runtime without {', '.join(missing[:5])}")
    if wrong:
        raise FedvoiceError(
            ErrorCode.DEVICE_UNFIT,
            where=f"device {serial} ({facts.model})",
            got="; ".join(wrong),
            wanted=f"Android API {MIN_API} or newer, one of {', '.join(sorted(carried))}, room for "
            "the app, and a runtime with the task's operators",
            next_step="Free space, take another device, or export the task for this runtime.",
        )
    return abi
