"""Names of ours that a host app could have too: all are listed here, and all bear our name.

What the library leaves on a phone when it runs is tested in Kotlin (`NamesTest`); here are the
names in the merged manifest, in the AAR and in the code.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from fedvoice.android_harness.aar.build import MODULES
from fedvoice.android_harness.emulation.jars import ANDROID
from tests.android.test_aar import (
    HOST,
    MERGED,
    NAME,
    classes_in,
    files_in,
    needs_aar,
    needs_host_app,
    sdk,
)

PLATFORM = (
    "android.permission.INTERNET",
    "android.permission.ACCESS_NETWORK_STATE",
    "android.permission.RECEIVE_BOOT_COMPLETED",
    "android.permission.FOREGROUND_SERVICE",
    "android.permission.FOREGROUND_SERVICE_DATA_SYNC",
)
"""Android's own names that the manifest takes: sharing them with the host app is their purpose."""

IN_MANIFEST = {
    *PLATFORM,
    "org.fedvoice.sdk.TrainingJob",
    "org.fedvoice.sdk.TrainingService",
    "org.fedvoice.sdk.DeployReceiver",
    "org.fedvoice.DEPLOY",
}

IN_CODE = {
    "preference file": set(),
    "folder of the app": {"fedvoice", "fedvoice_deploy"},
    "notification channel": {"org.fedvoice.training"},
    "log tag": {"fedvoice"},
    "system property": {"fedvoice.natives"},
}
"""Every name that the code gives to Android, by kind."""

CALLS = {
    "preference file": r"getSharedPreferences\(\s*([^,\n]+),",
    "folder of the app": r"(?:getExternalFilesDir|getExternalCacheDir|getDir)\(\s*([^,)\n]+)"
    r"|\b(?:noBackupFilesDir|filesDir|cacheDir|dataDir|codeCacheDir),\s*([^)\n]+)\)",
    "notification channel": r"NotificationChannel\(\s*([^,\n]+),",
    "log tag": r"\bLog\.\w\(\s*([^,\n]+),",
    "system property": r"System\.(?:getProperty|setProperty|clearProperty)\(\s*([^,)\n]+)",
}
NUMBERS = {
    "job": r"JobInfo\s*\.Builder\(\s*([^,\n]+),",
    "notification": r"\bstartForeground\(\s*([^,\n]+),",
}

ELSEWHERE = (
    "openFileOutput",
    "getDatabasePath",
    "deleteDatabase",
    "createTempFile",
    "newWakeLock",
    "WorkManager",
    "AlarmManager",
    "AccountManager",
    "PendingIntent",
    "contentResolver",
    "setTag(",
    ".notify(",
    "GlobalScope",
    "setDefaultUncaughtExceptionHandler",
)
"""Ways to leave a name or a number that the code does not use; who adds one adds it above."""


def sources() -> dict[str, str]:
    return {
        str(path.relative_to(ANDROID)): path.read_text()
        for module in MODULES
        for path in sorted((ANDROID / module / "src" / "main" / "kotlin").rglob("*.kt"))
    }


def constants(code: str) -> dict[str, str]:
    """Constants by their Kotlin names, texts without their quotes."""
    return dict(re.findall(r'const val (\w+)(?:: \w+)? = "?([^"\n]*)', code))


def names_given(code: str, call: str, known: dict[str, str]) -> set[str]:
    """What is handed to calls of this kind: the text itself where it is one."""
    found = {next(filter(None, match.groups())).strip() for match in re.finditer(call, code)}
    return {known.get(word, word).strip('"') for word in found}


def all_given(call: str) -> set[str]:
    """What all of our code hands to calls of this kind, constants by their values."""
    code = sources().values()
    known = {name: value for text in code for name, value in constants(text).items()}
    return set[str]().union(*(names_given(text, call, known) for text in code))


@needs_host_app
def test_all_that_the_manifest_brings_into_a_host_app_is_listed() -> None:
    def named(root: ET.Element) -> set[str]:
        return {element.attrib[NAME] for element in root.iter() if NAME in element.attrib}

    own = named(ET.parse(HOST / "src/main/AndroidManifest.xml").getroot())
    added = named(ET.parse(MERGED).getroot()) - own
    assert added == IN_MANIFEST - own
    ours = IN_MANIFEST - set(PLATFORM)
    assert {name for name in ours if not name.startswith("org.fedvoice.")} == set()
    tags = {element.tag for element in ET.parse(MERGED).getroot().iter()}
    # Authorities of providers, permissions and task affinities are names for a whole phone.
    assert not tags & {"provider", "permission", "meta-data", "uses-library"}


@pytest.mark.parametrize("kind", list(CALLS))
def test_all_names_that_the_code_gives_to_android_are_listed(kind: str) -> None:
    found = all_given(CALLS[kind])
    assert found == IN_CODE[kind]
    assert {name for name in found if not re.match(r"(org\.)?fedvoice", name)} == set()


@pytest.mark.parametrize("kind", list(NUMBERS))
def test_numbers_come_from_the_host_apps_settings(kind: str) -> None:
    found = all_given(NUMBERS[kind])
    assert found
    assert {name for name in found if not name.isidentifier()} == set()


def test_the_code_leaves_names_in_no_other_way() -> None:
    found = [
        f"{path}: {way}" for path, code in sources().items() for way in ELSEWHERE if way in code
    ]
    assert found == []


@needs_aar
def test_no_file_of_the_artifact_lies_where_a_host_apps_own_may_lie() -> None:
    for name in classes_in(sdk()):
        assert name.startswith(("org/fedvoice/", "META-INF/fedvoice-")), name
    # The AAR's own parts are read by the build and do not reach the app under these names.
    parts = {"AndroidManifest.xml", "classes.jar", "proguard.txt", "R.txt"}
    reaching = {name for name in files_in(sdk()) if not name.startswith("META-INF/")} - parts
    assert {name for name in reaching if not Path(name).name.startswith("fedvoice")} == set()


def test_a_name_without_our_prefix_is_found() -> None:
    code = 'class A { fun f() = context.getSharedPreferences("settings", 0) }'
    assert names_given(code, CALLS["preference file"], {}) == {"settings"}
    code = "val channel = NotificationChannel(CHANNEL, text, 2)"
    known = constants('const val CHANNEL: String = "news"')
    assert names_given(code, CALLS["notification channel"], known) == {"news"}
    code = "JobInfo.Builder(JOB, name)"
    assert names_given(code, NUMBERS["job"], constants("private const val JOB = 7\n")) == {"7"}
