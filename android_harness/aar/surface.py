"""The SDK's public surface as a text, so that a change of it is seen in a review.

    python -m fedvoice.android_harness.aar.surface [--write]

says what differs from android/sdk/api/sdk.api, status 1 if anything does, or writes that file.
The text is what Kotlin's own validator for Gradle would write (its library, `abi-tools`, makes it):
the public classes of the package `org.fedvoice.sdk`, the exception that they throw, and the classes
of our other modules that signatures lead to. Messages are left out: protocol/fedvoice.proto pins
those.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import tempfile
import zipfile
from pathlib import Path

from fedvoice.android_harness.command import exit_status, parser_of
from fedvoice.android_harness.emulation.build import build_natives
from fedvoice.android_harness.emulation.downloads import maven_artifact, run
from fedvoice.android_harness.emulation.jars import ANDROID, BUILD, jars

PINNED = ANDROID / "sdk" / "api" / "sdk.api"
_PROGRAM = Path(__file__).with_name("Surface.java")
_KOTLIN = "2.2.20"
_TOOLS = ("abi-tools", "abi-tools-api", "kotlin-metadata-jvm", "kotlin-compiler-embeddable")
# The last is named by a list's type argument alone, which the text does not show.
_STARTS = (
    "org/fedvoice/sdk/",
    "org/fedvoice/core/FedvoiceException",
    "org/fedvoice/core/session/SessionRecord",
)
_MESSAGES = "org/fedvoice/wire/"
_NAMED = re.compile(r"org/fedvoice/[\w/$]+")


def surface() -> str:
    """The present build's surface; compiled if it is not current.

    Raises:
        FedvoiceError: as `jars` and `maven_artifact`.
    """
    build_natives()
    return reachable(declarations(jars("sdk")))


def declarations(modules: list[Path]) -> str:
    """All public declarations of our own modules among these jars."""
    tools = [
        maven_artifact(f"org.jetbrains.kotlin:{name}:{_KOTLIN}", BUILD / "downloads")
        for name in (*_TOOLS, "kotlin-stdlib")
    ]
    with tempfile.TemporaryDirectory() as folder:
        for jar in modules:
            with zipfile.ZipFile(jar) as archive:
                names = [name for name in archive.namelist() if name.startswith("org/fedvoice/")]
                archive.extractall(folder, names)
        path = os.pathsep.join(map(str, tools))
        return run(["java", "-cp", path, str(_PROGRAM), folder], BUILD)


def reachable(text: str) -> str:
    """Of a text of declarations, those of the SDK and of what they name, again and again."""
    blocks: dict[str, str] = {}
    for block in text.strip().split("\n\n"):
        head = block.partition("\n")[0]
        named = _NAMED.search(head)
        if named and not named[0].startswith(_MESSAGES):
            blocks[named[0]] = block
    wanted: set[str] = set()
    found = {name for name in blocks if name.startswith(_STARTS)}
    while found:
        wanted |= found
        mentioned = {name for known in found for name in _NAMED.findall(blocks[known])}
        # A companion or a nested class is reached through its class.
        nested = {name for name in blocks if name.rpartition("$")[0] in found}
        found = (mentioned | nested) & blocks.keys() - wanted
    return "\n\n".join(blocks[name] for name in sorted(wanted)) + "\n"


def changes(before: str, now: str) -> list[str]:
    """Lines that went (-) and came (+), each under the class that it belongs to."""
    lines = difflib.unified_diff(before.splitlines(), now.splitlines(), "pinned", "now", n=2)
    return list(lines)


def main(arguments: list[str]) -> int:
    """Compare or write; 1 if the surface is another one, or cannot be read."""
    parser = parser_of("aar.surface", __doc__)
    parser.add_argument("--write", action="store_true", help=f"write {PINNED.name}")
    given = parser.parse_args(arguments)

    def work() -> int:
        now = surface()
        if given.write:
            PINNED.parent.mkdir(exist_ok=True)
            PINNED.write_text(now, encoding="utf-8")
            return 0
        changed = changes(PINNED.read_text(encoding="utf-8") if PINNED.is_file() else "", now)
        for line in changed:
            print(line)
        if changed:
            print("if that is meant: python -m fedvoice.android_harness.aar.surface --write")
        return 1 if changed else 0

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
