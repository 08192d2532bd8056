"""R8 in full mode leaves what is called by name alone: members of the host app's dex files."""

from __future__ import annotations

import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.android.test_aar import HOST, HOST_APK, needs_host_app

pytestmark = needs_host_app

Members = dict[str, set[str]]
"""Of each class by its JVM name: "name" for a field, "name(descriptor)" for a method."""

AARS = HOST / "target" / "aars"
_JAVAP_MEMBER = re.compile(
    r"^  (?:[^(\n]* )?([^\s(]+)(?:\(.*)?;\n    descriptor: (\S+)", re.MULTILINE
)
_KOTLINS = "Lkotlin/jvm/internal/DefaultConstructorMarker;"
"""Of constructors that Kotlin adds and calls itself: R8 renames it, no native knows it."""
SERVICE = "org/fedvoice/sdk/TrainingService"


@pytest.fixture(scope="module")
def shrunk(tmp_path_factory: pytest.TempPathFactory) -> Members:
    """What is in the app, under the names that it has there."""
    folder = tmp_path_factory.mktemp("dex")
    with zipfile.ZipFile(HOST_APK) as apk:
        dexes = [apk.extract(n, folder) for n in apk.namelist() if n.endswith(".dex")]
    found: Members = {}
    own: set[str] = set()
    text = subprocess.run(["dexdump", *dexes], capture_output=True, text=True, check=True).stdout
    for name, value in re.findall(r"^ +(Class descriptor|name|type) +: '(.*)'$", text, re.M):
        if name == "Class descriptor":
            own = found.setdefault(value[1:-1], set())
        elif name == "name":
            member = value
        else:
            own.add(member + value if value.startswith("(") else member)
    return found


@pytest.fixture(scope="module")
def renamed() -> dict[str, str]:
    """The names that R8 gave to classes."""
    lines = (HOST / "target" / "mapping.txt").read_text().splitlines()
    pairs = [match.groups() for line in lines if (match := re.fullmatch(r"(\S+) -> (\S+):", line))]
    return {before.replace(".", "/"): after.replace(".", "/") for before, after in pairs}


def written(jar: Path, *packages: str) -> Members:
    """The same of a jar's classes before R8, by the JDK's own reader."""
    with zipfile.ZipFile(jar) as archive:
        files = [name for name in archive.namelist() if name.endswith(".class")]
    names = [name.removesuffix(".class") for name in files if name.startswith(packages)]
    command = ["javap", "-p", "-s", "-cp", str(jar), *(name.replace("/", ".") for name in names)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    blocks = re.split(r"^(?=\S.*\{$)", text, flags=re.M)[1:]
    found: Members = {}
    for owner, block in zip(names, blocks, strict=True):
        pairs = _JAVAP_MEMBER.findall(block)
        found[owner] = {
            _member(owner, name, descriptor) for name, descriptor in pairs if name != "{}"
        }
    return found


def _member(owner: str, name: str, descriptor: str) -> str:
    if not descriptor.startswith("("):
        return name
    return ("<init>" if name.replace(".", "/") == owner else name) + descriptor


def test_the_platform_finds_what_it_calls(shrunk: Members) -> None:
    # onTimeout(int, int) is Android 15's: R8 does not know it by the platform of API 34.
    assert {"onTimeout(I)V", "onTimeout(II)V"} <= shrunk[SERVICE]
    assert "onStartCommand(Landroid/content/Intent;II)I" in shrunk[SERVICE]
    starting = {f"on{what}Job(Landroid/app/job/JobParameters;)Z" for what in ("Start", "Stop")}
    assert starting <= shrunk["org/fedvoice/sdk/TrainingJob"]
    received = "onReceive(Landroid/content/Context;Landroid/content/Intent;)V"
    assert received in shrunk["org/fedvoice/sdk/DeployReceiver"]
    for name in (SERVICE, "org/fedvoice/sdk/TrainingJob", "org/fedvoice/sdk/DeployReceiver"):
        assert "<init>()V" in shrunk[name]


@pytest.mark.parametrize(
    ("jar", "package"),
    [
        (AARS / "runtime" / "classes.jar", "org/pytorch/executorch/"),
        (AARS / "fbjni" / "classes.jar", "com/facebook/jni/"),
        (AARS / "zstd" / "classes.jar", "com/github/luben/zstd/"),
    ],
)
def test_natives_find_every_member_of_their_classes(
    shrunk: Members, jar: Path, package: str
) -> None:
    before = written(jar, package)
    assert len(before) > 5
    gone = {
        name: {m for m in members - shrunk.get(name, set()) if _KOTLINS not in m}
        for name, members in before.items()
    }
    assert {name: members for name, members in gone.items() if members} == {}


def test_the_classes_that_libexecutorch_names_are_there(shrunk: Members) -> None:
    library = zipfile.ZipFile(HOST_APK).read("lib/arm64-v8a/libexecutorch.so")
    named = re.findall(rb"\0L?((?:org/pytorch|com/facebook)/[\w/$]+);?\0", library)
    assert b"org/pytorch/executorch/extension/llm/LlmModule" in named
    assert {name.decode() for name in named} - set(shrunk) == set()


def test_messages_keep_the_fields_that_are_read_by_name(
    shrunk: Members, renamed: dict[str, str]
) -> None:
    messages = {
        name: {member for member in members if re.fullmatch(r"[a-z]\w*_", member)}
        for name, members in written(AARS / "sdk" / "classes.jar", "org/fedvoice/wire/").items()
        if "newBuilder" in "".join(members)
    }
    left = {name: renamed.get(name, name) for name in messages}
    used = {name: new for name, new in left.items() if new in shrunk}
    assert len(used) > 15
    gone = {name: messages[name] - shrunk[new] for name, new in used.items()}
    assert {name: members for name, members in gone.items() if members} == {}


def test_serialisable_classes_lead_to_their_serialisers(
    shrunk: Members, renamed: dict[str, str]
) -> None:
    checked = 0
    for name, members in written(AARS / "sdk" / "classes.jar", "org/fedvoice/").items():
        owner = name.removesuffix("$Companion")
        left = renamed.get(owner, owner)
        if "serializer()Lkotlinx/serialization/KSerializer;" in members and left in shrunk:
            checked += 1
            assert "Companion" in shrunk[left], owner
            own = shrunk[renamed.get(name, name)]
            assert [member for member in own if member.startswith("serializer()")], owner
    assert checked >= 20
