"""Published packages that the emulated phone is made of, fetched by their ordinary clients."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path

from fedvoice.protocol.errors import ErrorCode, FedvoiceError

MAVEN_VERSION = "3.9.11"
_OLDEST_MAVEN = (3, 9, 6)  # the protobuf plugin's demand
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
_DOWNLOAD_SECS = 900


def npm_package(name: str, version: str, sha256: str, directory: Path) -> Path:
    """The tarball of an npm package, checked; kept in `directory`."""
    path = directory / f"{name}-{version}.tgz"
    if not path.is_file():
        run(["npm", "pack", "--silent", f"{name}@{version}"], directory)
    return _checked(path, sha256)


def maven_artifact(coordinates: str, directory: Path, sha256: str = "") -> Path:
    """A Maven artifact GROUP:NAME:VERSION[:TYPE[:CLASSIFIER]], checked if a digest is given."""
    _, name, version, *rest = coordinates.split(":")
    extension, classifier = (*rest, *("jar", "")[len(rest) :])
    path = directory / f"{name}-{version}{f'-{classifier}' if classifier else ''}.{extension}"
    if not path.is_file():
        arguments = [f"-Dartifact={coordinates}", f"-DoutputDirectory={directory}"]
        run([_installed("mvn"), "-q", "-B", "-ntp", _COPY, *arguments], directory)
    return _checked(path, sha256) if sha256 else path


def maven(directory: Path) -> str:
    """A Maven new enough for the build: the installed one, or one fetched into `directory`."""
    own = directory / "bin" / "mvn"
    if own.is_file():
        return str(own)
    installed = _installed("mvn")
    # Run where no .mvn folder is: its settings are for the new one.
    match = re.search(r"Apache Maven (\d+)\.(\d+)\.(\d+)", run([installed, "-v"], Path("/")))
    if match and tuple(int(part) for part in match.groups()) >= _OLDEST_MAVEN:
        return installed
    directory.parent.mkdir(parents=True, exist_ok=True)
    archive = maven_artifact(
        f"org.apache.maven:apache-maven:{MAVEN_VERSION}:zip:bin", directory.parent
    )
    draft = directory.with_name(f"{directory.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    with zipfile.ZipFile(archive) as file:
        file.extractall(draft)
    (draft / f"apache-maven-{MAVEN_VERSION}").rename(directory)
    draft.rmdir()
    archive.unlink()
    own.chmod(0o755)
    return str(own)


def run(command: Sequence[str], directory: Path, environment: dict[str, str] | None = None) -> str:
    """A command's output.

    Raises:
        FedvoiceError: `missing-extra` if there is no such program, `bad-package` with its last
            words if it fails or takes longer than a quarter of an hour.
    """
    directory.mkdir(parents=True, exist_ok=True)
    try:
        return subprocess.run(
            command,
            cwd=directory,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=_DOWNLOAD_SECS,
        ).stdout
    except FileNotFoundError as error:
        raise _no_program(command[0]) from error
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        output = f"{_text(error.stdout)}\n{_text(error.stderr)}".strip().splitlines()
        told = [line for line in output if "ERROR" in line] or output
        raise FedvoiceError(
            ErrorCode.BAD_PACKAGE,
            where=" ".join(command[:6]),
            got=told[0][:300] if told else str(error),
            wanted="success",
            next_step="Look at the words above; `fedvoice doctor` says what this machine has.",
        ) from error


def _text(output: str | bytes | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def _installed(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise _no_program(program)
    return path


def _no_program(program: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.MISSING_EXTRA,
        where="the emulated Android phone",
        got=f"no program {program}",
        wanted="JDK 17, Maven, npm, gcc and binutils",
        next_step="Install what `fedvoice doctor` names, e.g. "
        "apt-get install openjdk-17-jdk maven npm gcc binutils.",
    )


def _checked(path: Path, sha256: str) -> Path:
    with path.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != sha256:
        path.unlink()
        raise FedvoiceError(
            ErrorCode.WRONG_DIGEST,
            where=path.name,
            got=f"sha256 {got[:16]}...",
            wanted=f"sha256 {sha256[:16]}...",
            next_step="The download was damaged or replaced and is deleted: try again.",
        )
    return path
