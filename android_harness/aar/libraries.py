"""The libraries that the SDK was compiled and tested with, as Maven resolved them."""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from fedvoice.protocol.errors import ErrorCode, FedvoiceError

OURS = "org.fedvoice"
_POM = "{http://maven.apache.org/POM/4.0.0}"
_LICENCES = (
    ("apache", "Apache-2.0"),
    ("bsd 2", "BSD-2-Clause"),
    ("bsd 3", "BSD-3-Clause"),
    ("3-clause bsd", "BSD-3-Clause"),
    ("mit", "MIT"),
)
"""A part of a licence's name as poms write it, and its SPDX identifier."""


@dataclass(frozen=True)
class Library:
    """A jar under its coordinates. licence: an SPDX identifier; empty for our own modules."""

    group: str
    name: str
    version: str
    file: Path
    licence: str

    @property
    def key(self) -> str:
        return f"{self.group}:{self.name}"

    @property
    def is_ours(self) -> bool:
        return self.group == OURS


def read_libraries(folder: Path) -> list[Library]:
    """The libraries in a folder that Maven laid out as a repository, by their keys.

    Args:
        folder: GROUP/NAME/VERSION/*.jar, and repository.txt that names the local repository whose
            poms tell the licences.

    Raises:
        FedvoiceError: `bad-package` for a library whose licence nobody has looked at.
    """
    repository = Path((folder / "repository.txt").read_text(encoding="utf-8").strip())
    found = []
    for jar in sorted(folder.rglob("*.jar")):
        *group, name, version, _ = jar.relative_to(folder).parts
        own = ".".join(group) == OURS
        pom = repository / jar.relative_to(folder).with_suffix(".pom")
        licence = "" if own else licence_of(pom, repository)
        found.append(Library(".".join(group), name, version, jar, licence))
    return found


def licence_of(pom: Path, repository: Path) -> str:
    """The SPDX identifier of a pom's licence, or of the nearest parent that names one.

    Raises:
        FedvoiceError: `bad-package` if there is none, or one of another kind.
    """
    root = ET.parse(pom).getroot()
    named = [_text(licence, "name") for licence in root.iter(f"{_POM}license")]
    parent = root.find(f"{_POM}parent")
    if not named and parent is not None:
        group, name, version = (_text(parent, f) for f in ("groupId", "artifactId", "version"))
        above = repository / group.replace(".", "/") / name / version / f"{name}-{version}.pom"
        return licence_of(above, repository)
    wanted = {spdx for part, spdx in _LICENCES for name in named if part in _plain(name)}
    if len(wanted) != 1:
        raise FedvoiceError(
            ErrorCode.BAD_PACKAGE,
            where=pom.name,
            got=f"the licences {', '.join(named) or 'none'}",
            wanted=f"one of {', '.join(sorted({spdx for _, spdx in _LICENCES}))}",
            next_step="Read the library's licence; if it may be shipped, add it to "
            "android_harness/aar/libraries.py.",
        )
    return wanted.pop()


def declared_keys(pom: Path) -> list[str]:
    """GROUP:NAME of the libraries that a module of ours needs at run time, as its pom has them."""
    found = []
    for dependency in ET.parse(pom).getroot().findall(f"{_POM}dependencies/{_POM}dependency"):
        key = f"{_text(dependency, 'groupId')}:{_text(dependency, 'artifactId')}"
        is_needed = _text(dependency, "scope") in ("", "compile", "runtime")
        if is_needed and not key.startswith(f"{OURS}:"):
            found.append(key)
    return found


def version_of(pom: Path) -> str:
    """The version that a pom gives its project."""
    return _text(ET.parse(pom).getroot(), "version")


def sha256_of(path: Path) -> str:
    """sha256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text(element: ET.Element, name: str) -> str:
    return (element.findtext(f"{_POM}{name}") or "").strip()


def _plain(name: str) -> str:
    return name.lower().replace("-", " ")
