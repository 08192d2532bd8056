"""Bad lines, bad clocks, bad certificates, bad disks: the work is kept and goes on.

Each ends with the model of the undisturbed run, bit for bit, every update counted once.
"""

from __future__ import annotations

import re
import signal
import struct
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from fedvoice.android_harness.emulation.proxy import Direction, Link, bad_mobile_line
from fedvoice.device_runtime import identity
from fedvoice.protocol.codec import digest_of
from fedvoice.server.security import authority
from fedvoice.server.security.authority import Authority
from fedvoice.server.security.credentials import Credentials
from fedvoice.server.store.database import open_existing
from tests.faults import kotlin
from tests.faults.scene import PhoneProcess, Scene, only
from tests.shared import once
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("direction", list(Direction))
def test_flight_mode_in_mid_transfer(make_scene, undisturbed, direction):
    scene = make_scene()
    line = scene.phones[0].line

    def take_off() -> None:
        line.flight_mode = True

    # As many bytes down bring it into the weights.
    away = line.when(direction, int(0.7 * scene.update_bytes), take_off)
    scene.start_phones()
    wait_until(away.is_set, "flight mode")
    tried = line.counts.attempts
    wait_until(lambda: line.counts.attempts > tried, "a try in flight mode")
    line.flight_mode = False
    assert scene.finish() == undisturbed
    scene.check_counted_once()
    # Resumed: the bytes that had come were not sent again, but for a window's worth.
    assert line.counts.bytes_up < 2.5 * scene.update_bytes + 200_000


@only("python")
@pytest.mark.parametrize("direction", list(Direction))
def test_a_line_that_breaks_again_and_again(make_scene, undisturbed, direction):
    scene = make_scene()
    line = scene.phones[0].line
    for i in range(1, 5):
        line.cut_after(direction, i * 380_000)
    scene.start_phones()
    assert scene.finish() == undisturbed
    scene.check_counted_once()
    assert line.counts.passed(direction) > 4 * 380_000


def test_a_slow_line_that_loses_packets(make_scene, undisturbed):
    scene = make_scene()
    for phone in scene.phones:
        phone.line.link = Link(
            latency_secs=0.1, bytes_per_sec=1e6, bytes_per_stall=400_000, stall_secs=0.4
        )
    scene.start_phones()
    assert scene.finish() == undisturbed
    scene.check_counted_once()


def test_a_bad_mobile_line_that_is_cut_costs_little(make_scene):
    """1 Mbit/s, 300 ms, stalls, a cut in each transfer: what went over the line is the payload and
    at most 5% more, TLS and all messages included."""
    scene = make_scene(rounds=1, names=("anna",))
    (phone,) = scene.phones
    phone.line.link = bad_mobile_line(secs_per_cut=0)
    fetched_bytes = scene.update_bytes + scene.package.program_path.stat().st_size
    cuts = [
        phone.line.cut_after(Direction.DOWN, int(0.6 * fetched_bytes)),
        phone.line.cut_after(Direction.UP, int(0.6 * scene.update_bytes)),
    ]
    scene.start_phones()
    scene.finish()
    scene.check_counted_once()
    assert all(cut.is_set() for cut in cuts)
    assert line_overhead(phone.line.counts.bytes_up, scene.update_bytes) < 0.05
    assert line_overhead(phone.line.counts.bytes_down, fetched_bytes) < 0.05


def line_overhead(passed_bytes: int, wanted_bytes: int) -> float:
    assert passed_bytes > wanted_bytes
    return passed_bytes / wanted_bytes - 1


def test_a_line_that_is_too_slow_is_measured_told_and_tried_again(make_scene):
    """The first time nothing is known of it, and a lease is lost. Then the phone is told before it
    fetches anything, until what it measured has grown old."""
    scene = make_scene(rounds=1, names=("anna",), more="lease_secs = 12")
    (phone,) = scene.phones
    phone.line.link = Link(bytes_per_sec=50_000)  # 1 MB down takes 20 s, and 1 MB up as long
    scene.start_phones()
    wait_until(lambda: "lease-expired" in phone.log, "the end of its lease")
    phone.kill()  # no need to wait the minute until it calls again
    phone.start()
    wait_until(lambda: "line-too-slow" in phone.log, "what it is told")
    told = next(line for line in phone.log.splitlines() if "line-too-slow" in line)
    way = r"\d\S* MB {} at \S+ kB/s"
    both = f"{way.format('down')}, {way.format('up')}"
    assert re.search(rf"line-too-slow; {both} take \d+ s; 12 s are left", told), told
    fetched = phone.line.counts.bytes_down
    wait_until(lambda: phone.log.count("line-too-slow") > 3, "what it is told again")
    assert phone.line.counts.bytes_down - fetched < 100_000
    phone.line.link = Link()
    phone.turn_clock(7 * 3600)
    scene.finish()
    scene.check_counted_once()


@pytest.mark.parametrize("direction", list(Direction))
def test_bytes_spoilt_on_the_wire_are_found(make_scene, undisturbed, direction):
    scene = make_scene()
    spoilt = scene.phones[0].line.spoil_after(direction, 500_000)
    scene.start_phones()
    wait_until(spoilt.is_set, "a flipped bit")
    assert scene.finish() == undisturbed
    scene.check_counted_once()


@only("python")
def test_a_package_spoilt_on_the_servers_disk_is_never_trained_on(make_scene):
    scene = make_scene()
    weights = max((scene.store_dir / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    good = weights.read_bytes()
    weights.write_bytes(good[:1000] + bytes([good[1000] ^ 1]) + good[1001:])
    scene.start_phones()
    wait_until(
        lambda: any("wrong-digest" in phone.log for phone in scene.phones), "the damage named"
    )
    assert scene.accepted() == {}


@only("python")
@pytest.mark.parametrize("hours", [-48, 3])
def test_a_phones_clock_that_moves_in_mid_training(make_scene, undisturbed, hours):
    scene = make_scene()
    phone = scene.phones[0]
    phone.step_secs = 0.3
    scene.start_phones()
    wait_until(lambda: (phone.state / "checkpoint").exists(), "training")
    phone.turn_clock(hours * 3600)
    if hours > 0:
        # Its lease seems to be over: it drops the work, and gets its place again.
        wait_until(lambda: "lease-expired" in phone.log, "the end of its lease")
        phone.kill()  # no need to wait the minute until it calls again
        phone.start()
    assert scene.finish() == undisturbed
    scene.check_counted_once()


@only("kotlin")
@pytest.mark.parametrize("hours", [-48, 48])
def test_a_phone_started_again_with_another_clock(make_scene, undisturbed, hours):
    scene = make_scene()
    phone = scene.phones[0]
    killed = phone.line.when(Direction.DOWN, int(0.8 * scene.update_bytes), phone.kill)
    scene.start_phones()
    wait_until(killed.is_set, "mid-fetch")
    # Its assignment seems to be of the past, its lease to be over; or of the future.
    path = phone.state / "assignment"
    (received_secs,) = struct.unpack_from("<d", path.read_bytes())
    assert abs(received_secs - time.time()) < 600
    path.write_bytes(struct.pack("<d", received_secs - hours * 3600) + path.read_bytes()[8:])
    phone.start()
    assert scene.finish() == undisturbed
    scene.check_counted_once()


@only("python")
@pytest.mark.parametrize("hours", [-48, 1 / 60])
def test_a_server_started_again_with_another_clock(make_scene, undisturbed, hours):
    scene = make_scene(point="fedvoice.server.store.blobs:Upload.write:after:2")
    scene.start_phones()
    wait_until(scene.server_ended, "the server's death")
    scene.turn_server_clock(hours * 3600)
    scene.start_server()
    assert scene.finish() == undisturbed
    scene.check_counted_once()


def put_certificate(scene: Scene, phone: PhoneProcess, days: float, monkeypatch) -> None:
    """Give an enrolled phone a certificate of `days` in place of its own."""
    own = identity.load(phone.state / "identity")
    assert own is not None
    key = x509.load_pem_x509_certificate(own.certificate).public_key()
    with monkeypatch.context() as patch:
        patch.setattr(authority, "CLIENT_DAYS", days)
        issued = Authority(scene.store_dir).issue(key, phone.name)
    database = open_existing(scene.store_dir)
    Credentials(database).add(phone.name, "the same", issued)
    database.close()
    certificate = x509.load_der_x509_certificate(issued.certificate)
    path = phone.state / "identity" / "certificate.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


@only("python")
def test_a_stale_certificate_keeps_the_work_and_ends_the_tries(
    make_scene, undisturbed, monkeypatch
):
    scene = make_scene()
    phone = scene.phones[0]
    killed = phone.line.when(Direction.UP, scene.update_bytes // 2, phone.kill)
    scene.start_phones()
    wait_until(killed.is_set, "mid-upload")
    put_certificate(scene, phone, -0.5, monkeypatch)
    tried = phone.line.counts.attempts
    phone.start()
    assert phone.wait() == 2
    assert "bad-credentials" in phone.log
    assert "new invitation" in phone.log
    assert phone.line.counts.attempts - tried <= 3
    assert (phone.state / "report.header").exists()
    phone.invitation = ""  # a new one
    phone.start()
    assert scene.finish() == undisturbed
    scene.check_counted_once()


@only("python")
def test_a_certificate_is_renewed_before_it_runs_out(make_scene, undisturbed, monkeypatch):
    scene = make_scene()
    phone = scene.phones[0]
    killed = phone.line.when(Direction.DOWN, 100_000, phone.kill)
    scene.start_phones()
    wait_until(killed.is_set, "the first transfer")
    put_certificate(scene, phone, 0.2, monkeypatch)
    phone.start()
    assert scene.finish() == undisturbed
    own = identity.load(phone.state / "identity")
    assert own is not None
    assert own.expires.timestamp() > time.time() + 80 * 86400


@pytest.fixture
def undisturbed_lesson(make_scene, tmp_path_factory):
    """A lesson long enough to do something in the middle of it, and the model that comes of it."""
    plan = {**kotlin.LEARNING, "local_epochs": 150}
    more = f"plan = {{ {', '.join(f'{name} = {value}' for name, value in plan.items())} }}"

    def run(path):
        scene = make_scene(rounds=1, more=more)
        scene.start_phones()
        path.write_bytes(scene.finish())

    return more, once(tmp_path_factory, "lesson", run).read_bytes()


@only("kotlin")
def test_a_phone_unplugged_in_mid_training(make_scene, undisturbed_lesson):
    more, undisturbed = undisturbed_lesson
    scene = make_scene(rounds=1, more=more)
    (phone,) = scene.phones
    scene.start_phones()
    wait_until((phone.state / "checkpoint").exists, "training")
    phone.say(charging=False)
    wait_until(lambda: "not-ready; not charging" in phone.log, "a phone that waits")
    assert "interrupted; round 1; not charging" in phone.log
    assert (phone.state / "checkpoint").exists()
    phone.say(charging=True)
    assert scene.finish() == undisturbed
    scene.check_counted_once()


@only("kotlin")
def test_a_clock_that_is_set_in_mid_training_changes_nothing(make_scene, undisturbed_lesson):
    more, undisturbed = undisturbed_lesson
    scene = make_scene(rounds=1, more=more)
    (phone,) = scene.phones
    scene.start_phones()
    checkpoint = phone.state / "checkpoint"
    wait_until(checkpoint.exists, "training")
    for hours in (-48, 48):
        phone.turn_clock(hours * 3600)
        seen = checkpoint.stat().st_mtime_ns
        wait_until(lambda seen=seen: checkpoint.stat().st_mtime_ns > seen, "training that goes on")
    assert scene.finish() == undisturbed
    scene.check_counted_once()
    assert "lease" not in phone.log


@only("kotlin")
def test_a_program_spoilt_on_a_phones_disk_is_fetched_again(make_scene, undisturbed):
    scene = make_scene()
    (phone,) = scene.phones
    killed = phone.line.when(Direction.UP, scene.update_bytes // 2, phone.kill)
    scene.start_phones()
    wait_until(killed.is_set, "mid-upload")
    good = scene.package.program_path.read_bytes()
    held = [p for p in (phone.state / "blobs").rglob("*") if p.is_file() and p.read_bytes() == good]
    assert {path.name for path in held} == {digest_of(good), "program.pte"}
    for path in held:
        path.write_bytes(good[:9000] + bytes(200) + good[9200:])
    phone.start()
    assert scene.finish() == undisturbed
    scene.check_counted_once()
    assert all(path.read_bytes() == good for path in held)


def test_a_phones_full_disk(make_scene, undisturbed):
    scene = make_scene()
    phone = scene.phones[0]
    # Less than the weights; of the other kind, less than a checkpoint: a JVM's own files need more.
    largest = {"python": 0.6, "kotlin": 1.7}[scene.kind.name] * scene.update_bytes
    phone.wrapper = ("prlimit", f"--fsize={int(largest)}")
    scene.start_phones()
    assert phone.wait() == 2
    assert "no-space" in phone.log
    phone.wrapper = ()
    phone.start()
    assert scene.finish() == undisturbed
    scene.check_counted_once()


def test_a_servers_full_disk(make_scene, undisturbed):
    scene = make_scene()
    scene.server.send_signal(signal.SIGTERM)
    scene.server.wait()
    scene.start_server(wrapper=("prlimit", f"--fsize={int(0.6 * scene.update_bytes)}"))
    scene.start_phones()
    wait_until(
        lambda: any("report-kept" in phone.log for phone in scene.phones), "an update kept back"
    )
    assert scene.accepted() == {}
    scene.server.send_signal(signal.SIGTERM)
    scene.server.wait()
    scene.start_server()
    assert scene.finish() == undisturbed
    scene.check_counted_once()
