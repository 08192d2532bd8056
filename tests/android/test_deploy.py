"""`fedvoice deploy` with Debian's adb against emulated devices that run the Kotlin phone."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
from typer.testing import CliRunner, Result

from fedvoice.android_harness.apk.build import APK
from fedvoice.android_harness.deploy.cli import deploy
from fedvoice.android_harness.emulation.adbd import Adbd
from fedvoice.android_harness.emulation.device import PACKAGE, EmulatedDevice
from fedvoice.android_harness.emulation.jars import NATIVES
from fedvoice.android_harness.emulation.jvm import find_phone
from fedvoice.protocol.errors import FedvoiceError
from fedvoice.protocol.task import TaskPackage
from fedvoice.protocol.utterances import read_manifest, write_manifest
from fedvoice.server.app import AggregationServer
from fedvoice.server.config import ServerConfig
from fedvoice.server.security.credentials import Credentials
from fedvoice.server.store.database import open_existing
from fedvoice.server.store.ledger import round_rows
from tests.android.jvm import needs_phone
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    needs_phone,
    pytest.mark.skipif(shutil.which("adb") is None, reason="no adb: apt-get install adb"),
]

Plug = Callable[..., "Plugged"]


class Plugged:
    """A device and its cable."""

    def __init__(self, device: EmulatedDevice) -> None:
        self.device, self.adbd = device, Adbd(device)
        self.serial = self.adbd.address
        self.connect()

    def connect(self) -> None:
        """Until adb lists the device as ready: on a busy machine it may take a moment, or a second
        call after a cable was pulled."""
        wait_until(self._ready, f"adb to reach {self.serial}")

    def _ready(self) -> bool:
        subprocess.run(["adb", "connect", self.serial], check=False, capture_output=True)
        asked = ["adb", "-s", self.serial, "get-state"]
        state = subprocess.run(asked, check=False, capture_output=True, text=True).stdout
        return state.strip() == "device"

    def unplug_when(self, condition: Callable[[], bool]) -> threading.Thread:
        """Pull the cable as soon as `condition` holds."""

        def watch() -> None:
            end = time.monotonic() + 60
            while not condition() and time.monotonic() < end:
                time.sleep(0.001)
            self.adbd.unplug()

        thread = threading.Thread(target=watch)
        thread.start()
        return thread

    def plug_in(self) -> None:
        self.adbd.plug_in()
        subprocess.run(["adb", "disconnect", self.serial], check=False, capture_output=True)
        self.connect()

    def close(self) -> None:
        subprocess.run(["adb", "disconnect", self.serial], check=False, capture_output=True)
        self.adbd.close()
        self.device.close()


@pytest.fixture(scope="module", autouse=True)
def own_adb_server() -> Iterator[None]:
    """An adb server of the tests' own, so that nobody's phone on this machine is touched."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        yield
        subprocess.run(["adb", "kill-server"], check=False, capture_output=True)


@pytest.fixture
def plug(tmp_path: Path) -> Iterator[Plug]:
    """Emulated devices, connected."""
    plugged: list[Plugged] = []

    def make(name: str = "a", **facts: object) -> Plugged:
        device = EmulatedDevice(tmp_path / f"device-{name}", find_phone(), **facts)  # type: ignore[arg-type]
        plugged.append(Plugged(device))
        return plugged[-1]

    yield make
    for each in plugged:
        each.close()


@pytest.fixture(scope="module")
def apk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app, or, where `make apk` was not run, an archive with the same runtime inside."""
    if APK.is_file():
        return APK
    path = tmp_path_factory.mktemp("apk") / "app.apk"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("AndroidManifest.xml", b"")
        archive.writestr("classes.dex", b"")
        library = NATIVES / "jni" / "x86_64" / "libexecutorch.so"
        archive.write(library, "lib/x86_64/libexecutorch.so")
    return path


@pytest.fixture
def server(tmp_path: Path, task: TaskPackage) -> Iterator[AggregationServer]:
    """A server with TLS that waits for phones; a round is one phone's work."""
    config = ServerConfig.model_validate(
        {
            "bind": "127.0.0.1:0",
            "cohort_size": 1,
            "rounds": 4,
            "selection": "first",
            "retry": {"least_secs": 0.1, "most_secs": 0.2},
        }
    )
    server = AggregationServer(config, task, tmp_path / "store")
    server.start()
    yield server
    server.stop(grace_secs=0.2)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(deploy, [str(argument) for argument in arguments])


def specs(server: AggregationServer, apk: Path, manifest: Path) -> list[object]:
    return ["--apk", apk, "--store", server.store_dir, "--consent", "--examples", manifest]


def accepted(server: AggregationServer) -> int:
    return sum(row.clients for row in round_rows(server.store_dir))


def test_a_phone_goes_from_nothing_to_its_first_update(
    plug: Plug, server: AggregationServer, apk: Path, manifest: Path, task: TaskPackage
) -> None:
    phone = plug()
    given = [*specs(server, apk, manifest), "--task", task.directory]
    result = run(*given, "--now")
    assert result.exit_code == 0, result.output
    assert "joined 127.0.0.1" in result.output
    assert "through the cable" in result.output
    assert "are not asked for" in result.output
    assert "session: trained, round 1" in result.output
    assert accepted(server) == 1
    # The task was there before the first session: nothing of it came over the network.
    program_bytes = task.program_path.stat().st_size
    status = run("status", "--json").output
    assert '"trained": 1' in status
    assert f'"device": "{phone.serial}"' in status
    assert int(status.split('"bytes_down": ')[1].split(",")[0]) < program_bytes

    again = run(*given)
    assert again.exit_code == 0, again.output
    assert "app: is there" in again.output
    assert "enrolment: done before" in again.output
    assert "0 of 6 copied, the phone holds 6" in again.output
    assert accepted(server) == 1

    log = run("logs", "--seconds", 2)
    assert "trained; round 1" in log.output
    for line in manifest.read_text().splitlines():
        assert line.split('"text": "')[1].split('"')[0] not in log.output.split("INFO", 1)[1]


def test_a_pulled_cable_is_told_and_the_same_command_goes_on(
    plug: Plug, server: AggregationServer, apk: Path, manifest: Path
) -> None:
    phone = plug()
    draft = phone.device.files.path("/data/app/install.tmp")
    pulling = phone.unplug_when(lambda: draft.is_file() and draft.stat().st_size > 1_000_000)
    result = run(*specs(server, apk, manifest), "--device", phone.serial)
    pulling.join()
    assert isinstance(result.exception, FedvoiceError), result.output
    assert result.exception.code == "device-lost"
    assert not phone.device.apk.is_file()

    phone.plug_in()
    result = run(*specs(server, apk, manifest), "--now", "--device", phone.serial)
    assert result.exit_code == 0, result.output
    assert phone.device.apk.read_bytes() == apk.read_bytes()
    assert accepted(server) == 1


def test_a_cable_pulled_between_files_leaves_whole_files(
    plug: Plug, server: AggregationServer, apk: Path, manifest: Path
) -> None:
    phone = plug()
    folder = phone.device.files.path(
        f"/sdcard/Android/data/{PACKAGE}/files/fedvoice_deploy/examples"
    )
    pulling = phone.unplug_when(lambda: len(list(folder.glob("*.wav"))) >= 2)
    result = run(*specs(server, apk, manifest), "--device", phone.serial)
    pulling.join()
    assert isinstance(result.exception, FedvoiceError), result.output
    assert result.exception.code == "device-lost"
    held = len(list(folder.glob("*.wav")))

    phone.plug_in()
    result = run(*specs(server, apk, manifest), "--device", phone.serial)
    assert result.exit_code == 0, result.output
    assert f"{6 - held} of 6 copied, the phone holds 6" in result.output


def test_a_phone_without_room_is_named_before_anything_is_changed(
    plug: Plug, server: AggregationServer, apk: Path, manifest: Path
) -> None:
    phone = plug(capacity_bytes=apk.stat().st_size)
    result = run(*specs(server, apk, manifest))
    assert isinstance(result.exception, FedvoiceError), result.output
    assert result.exception.code == "device-unfit"
    assert "free" in result.exception.got
    assert not phone.device.apk.is_file()
    assert Credentials(open_existing(server.store_dir)).clients() == []


def test_a_phone_that_gets_full_half_way_says_so_and_goes_on_later(
    plug: Plug, server: AggregationServer, apk: Path, manifest: Path
) -> None:
    phone = plug()
    assert run("--apk", apk).exit_code == 0
    files = phone.device.files
    files.capacity_bytes -= files.free_bytes() - 30_000
    result = run(*specs(server, apk, manifest))
    assert isinstance(result.exception, FedvoiceError), result.output
    assert result.exception.code == "no-space"
    files.capacity_bytes = 10**10
    result = run(*specs(server, apk, manifest))
    assert result.exit_code == 0, result.output
    assert "the phone holds 6" in result.output


@pytest.mark.parametrize(
    ("facts", "told"),
    [({"api": 26}, "API level 26"), ({"abis": ["armeabi-v7a"]}, "ABIs armeabi-v7a")],
)
def test_an_unfit_phone_is_left_alone(
    plug: Plug, apk: Path, facts: dict[str, object], told: str
) -> None:
    phone = plug(**facts)
    result = run("--apk", apk)
    assert isinstance(result.exception, FedvoiceError), result.output
    assert result.exception.code == "device-unfit"
    assert told in result.exception.got
    assert not phone.device.apk.is_file()


def test_two_phones_at_once(
    plug: Plug, server: AggregationServer, apk: Path, manifest: Path
) -> None:
    phones = [plug("a"), plug("b")]
    unsaid = run(*specs(server, apk, manifest))
    assert isinstance(unsaid.exception, FedvoiceError)
    assert "--device" in unsaid.exception.next_step

    named = [word for phone in phones for word in ("--device", phone.serial)]
    result = run(*specs(server, apk, manifest), "--now", *named)
    assert result.exit_code == 0, result.output
    for phone in phones:
        assert f"{phone.serial}: session: trained" in result.output
    assert accepted(server) == 2
    assert len(Credentials(open_existing(server.store_dir)).clients()) == 2


def test_an_app_that_dies_in_a_session_counts_once(
    plug: Plug, server: AggregationServer, apk: Path, manifest: Path
) -> None:
    phone = plug()
    assert run(*specs(server, apk, manifest)).exit_code == 0
    asked = threading.Thread(target=run, args=("--apk", apk, "--now", "--wait-secs", 3))
    asked.start()
    time.sleep(1.0)
    phone.device.kill_app()
    asked.join()
    result = run("--apk", apk, "--now")
    assert result.exit_code == 0, result.output
    assert accepted(server) in (1, 2)
    rounds = [row.round for row in round_rows(server.store_dir) if row.clients]
    assert len(rounds) == len(set(rounds)) == accepted(server)


def test_removing_leaves_nothing_on_the_phone_and_shuts_it_out(
    plug: Plug, server: AggregationServer, apk: Path, manifest: Path
) -> None:
    phone = plug()
    assert run(*specs(server, apk, manifest)).exit_code == 0
    (client,) = Credentials(open_existing(server.store_dir)).clients()
    result = run("remove", "--store", server.store_dir)
    assert result.exit_code == 0, result.output
    assert not any(path.is_file() for path in phone.device.files.root.rglob("*"))
    (after,) = Credentials(open_existing(server.store_dir)).clients()
    assert (after.client_id, after.revoked) == (client.client_id, True)
    assert "the app is not there" in run("remove").output


def test_recordings_that_the_phone_does_not_read_are_converted_on_the_way(
    plug: Plug, server: AggregationServer, apk: Path, manifest: Path, tmp_path: Path
) -> None:
    plug()
    flac = []
    for i, utterance in enumerate(read_manifest(manifest)):
        samples, rate = soundfile.read(utterance.audio_path, dtype="int16")
        path = tmp_path / f"{i}.flac"
        soundfile.write(path, samples, rate)
        flac.append(replace(utterance, audio_path=path))
    write_manifest(tmp_path / "manifest.jsonl", flac)
    result = run(*specs(server, apk, tmp_path / "manifest.jsonl"), "--now")
    assert result.exit_code == 0, result.output
    assert "session: trained" in result.output


def test_the_deployed_task_says_what_it_can_use_before_the_first_session(
    plug: Plug, server: AggregationServer, apk: Path, manifest: Path, task: TaskPackage
) -> None:
    plug()
    result = run(*specs(server, apk, manifest), "--task", task.directory)
    assert result.exit_code == 0, result.output
    (fact,) = [line for line in run("status").output.splitlines() if " examples " in line]
    assert " 6 used" in fact


def test_a_phone_without_examples_is_not_waited_for(
    plug: Plug, server: AggregationServer, apk: Path
) -> None:
    plug()
    result = run("--apk", apk, "--store", server.store_dir, "--consent", "--now")
    assert result.exit_code == 0, result.output
    assert "holds no examples" in result.output


def test_without_a_device_it_says_what_to_do() -> None:
    result = run("status")
    assert isinstance(result.exception, FedvoiceError)
    assert result.exception.code == "device-lost"
    assert "USB debugging" in result.exception.next_step


def test_without_adb_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "PATH", "/nonexistent")
    result = run("status")
    assert isinstance(result.exception, FedvoiceError)
    assert result.exception.code == "missing-extra"
