"""`fedvoice doctor`: which jobs this machine supports, and what is missing for the others."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer

from fedvoice.android_harness.emulation import jvm
from fedvoice.doctor_checks import Check, machine_checks

OLDEST_PYTHON = (3, 11)
OLDEST_JDK = 17
_VERSION_SECS = 30
_APT = "On Debian: apt install {}."


SIMULATE = "simulate"
ANDROID_PHONES = "simulate --phones android=N"
BUILD = "make android"
APK = "make apk"
DEPLOY = "deploy"
EMULATOR = "deploy to an emulator here"
SHAPING = "emulated bandwidth"


def examine() -> list[Check]:
    """Check all requirements of all jobs."""
    return [
        *_python(),
        *machine_checks(SIMULATE),
        *_android_phones(),
        _program(BUILD, "javac", "openjdk-17-jdk-headless"),
        _program(BUILD, "mvn", "maven"),
        _program(BUILD, "npm"),
        _program(BUILD, "gcc"),
        _program(APK, "aapt2", "aapt"),
        *(_program(APK, name) for name in ("zipalign", "apksigner", "dexdump")),
        _program(DEPLOY, "adb"),
        _kvm(),
        _traffic_control(),
    ]


def possible(checks: Sequence[Check]) -> dict[str, bool]:
    """Each job, and whether all its requirements are met."""
    jobs = dict.fromkeys(check.job for check in checks)
    return {job: all(check.ok for check in checks if check.job == job) for job in jobs}


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """What this machine can do: simulations, emulated Android phones, apps, deployment.

    Ends with 0 if the main job, `fedvoice simulate`, works; with 1 if not.

    Example: fedvoice doctor
    """
    checks = examine()
    jobs = possible(checks)
    if json:
        import json as json_module

        fields: dict[str, Any] = {"jobs": jobs, "checks": [asdict(check) for check in checks]}
        typer.echo(json_module.dumps(fields, indent=1))
    else:
        _show(checks, jobs)
    raise typer.Exit(0 if jobs[SIMULATE] else 1)


def _show(checks: Sequence[Check], jobs: dict[str, bool]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table("for", "what", "", "found")
    before = ""
    for check in checks:
        if before and check.job != before:
            table.add_section()
        state = "[green]ok[/green]" if check.ok else "[red]missing[/red]"
        found = check.found if check.ok else f"{check.found}. {check.next_step}"
        table.add_row("" if check.job == before else check.job, check.name, state, found)
        before = check.job
    console.print(table)
    for job, works in jobs.items():
        console.print(f"{job}: {'[green]works[/green]' if works else '[red]not here[/red]'}")


def _python() -> list[Check]:
    running = platform.python_version()
    checks = [
        Check(
            SIMULATE,
            "Python",
            sys.version_info >= OLDEST_PYTHON,
            running,
            f"Install Python {'.'.join(map(str, OLDEST_PYTHON))} or newer.",
        )
    ]
    for name in ("grpcio", "executorch", "torch", "soundfile", "espeakng-loader", "matplotlib"):
        try:
            checks.append(Check(SIMULATE, name, True, version(name)))
        except PackageNotFoundError:
            way_out = "Install it: pip install 'fedvoice[fleet]'."
            checks.append(Check(SIMULATE, name, False, "not installed", way_out))
    return checks


def _android_phones() -> list[Check]:
    cannot = jvm.cannot_run()
    here = f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}"
    make = "Build it: make android."
    return [
        Check(
            ANDROID_PHONES,
            "machine",
            not cannot,
            cannot or here,
            "Use Linux on x86_64, or take Python phones alone.",
        ),
        _java(),
        Check(
            ANDROID_PHONES,
            "Android's ExecuTorch binary",
            jvm.natives_built(),
            "built" if jvm.natives_built() else "not built",
            make,
        ),
        Check(
            ANDROID_PHONES,
            "Kotlin phone",
            jvm.phone_built(),
            "built" if jvm.phone_built() else "not built",
            make,
        ),
    ]


def _java() -> Check:
    way_out = f"Install JDK {OLDEST_JDK} or newer. {_APT.format('openjdk-17-jdk-headless')}"
    java = jvm.java()
    if java is None:
        return Check(ANDROID_PHONES, "Java", False, "no java", way_out)
    said = _said([java, "-version"])
    match = re.search(r'version "(\d+)', said)
    number = int(match.group(1)) if match else 0
    if number < OLDEST_JDK:
        return Check(ANDROID_PHONES, "Java", False, f"version {number or 'unknown'}", way_out)
    return Check(ANDROID_PHONES, "Java", True, f"{number}, {java}")


def _program(job: str, name: str, package: str = "") -> Check:
    path = shutil.which(name)
    return Check(job, name, path is not None, path or "not found", _APT.format(package or name))


def _kvm() -> Check:
    device = Path("/dev/kvm")
    if not device.exists():
        found, way_out = "no /dev/kvm", "Turn virtualisation on in the firmware, or use a phone."
    elif not os.access(device, os.R_OK | os.W_OK):
        found, way_out = "/dev/kvm may not be used", "Join the group kvm, or use a phone."
    elif shutil.which("emulator") is None:
        found, way_out = "/dev/kvm, but no emulator", "Install Android's emulator, or use a phone."
    else:
        return Check(EMULATOR, "emulator", True, "/dev/kvm and the emulator")
    return Check(EMULATOR, "emulator", False, found, way_out)


def _traffic_control() -> Check:
    path = shutil.which("tc")
    if path is None:
        return Check(SHAPING, "tc", False, "not found", _APT.format("iproute2"))
    if os.geteuid() != 0:
        return Check(SHAPING, "tc", False, f"{path}, without the right to", "Run it as root.")
    return Check(SHAPING, "tc", True, path)


def _said(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_VERSION_SECS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr
