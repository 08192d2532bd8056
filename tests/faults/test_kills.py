"""Laws 4 and 5: `kill -9` of the server and of a phone in every step of a session.

Each ends with the model of the undisturbed run, bit for bit, every update counted once.
`tests/android/test_kill_phone.py` kills the Kotlin phone.
"""

from __future__ import annotations

import signal

import pytest

from fedvoice.android_harness.emulation.proxy import Direction
from fedvoice.server.store.ledger import round_rows
from tests.faults.scene import only
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

SERVER_POINTS = {
    "enrolled, not answered": "fedvoice.server.security.credentials:Credentials.redeem:after:1",
    "place given, not answered": ("fedvoice.server.rounds.job:Job.assignment:after:1"),
    "check-in answered": "fedvoice.server.intake.service:AggregationService.fetch:before:1",
    "mid-fetch": "fedvoice.server.intake.meter:DownloadBytes.chunk:after:4",
    "mid-upload": "fedvoice.server.store.blobs:Upload.write:after:2",
    "payload durable, not recorded": "fedvoice.server.store.blobs:Upload.finish:after:1",
    "recorded, not folded": "fedvoice.server.rounds.sums:RoundSum.fold:before:1",
    "folded, not answered": "fedvoice.server.intake.reports:Intake.finish:after:1",
    "committing": "fedvoice.server.store.model:CurrentModel.advance:before:1",
    "model written, round open": "fedvoice.server.store.model:CurrentModel.advance:after:1",
    "round closed": "fedvoice.server.store.database:Store.close_round:after:1",
    "committed": "fedvoice.server.rounds.coordinator:Coordinator._close:after:1",
}
PHONE_POINTS = {
    "enrolled, certificate not kept": "fedvoice.device_runtime.identity:adopt:before:1",
    "assigned, not kept": "fedvoice.device_runtime.outbox:AssignmentFile.put:before:1",
    "assigned": "fedvoice.device_runtime.outbox:AssignmentFile.put:after:1",
    "fetched, not checked": "fedvoice.device_runtime.blobs:BlobCache.adopt:before:3",
    "in training": "tests.faults.tiny:HeavyEngine.step:after:3",
    "trained, update not kept": "fedvoice.device_runtime.outbox:Outbox.put:before:1",
    "update kept": "fedvoice.device_runtime.outbox:Outbox.put:after:1",
    "acknowledged, not forgotten": "fedvoice.device_runtime.outbox:Outbox.clear:before:1",
}


@only("python")
@pytest.mark.parametrize("step", SERVER_POINTS)
def test_law_4_a_server_killed_at_any_step_ends_with_the_same_model(make_scene, undisturbed, step):
    scene = make_scene(point=SERVER_POINTS[step])
    scene.start_phones()
    wait_until(scene.server_ended, f"the server's death at {step}")
    assert scene.server.returncode == -signal.SIGKILL
    scene.start_server()
    assert scene.finish() == undisturbed
    scene.check_counted_once()


@only("python")
def test_law_4_an_int8_reference_outlives_a_server_that_is_killed_in_the_commit(make_scene):
    """Phones train from the reference, so another one would end in another model."""
    more = 'download_encoding = "int8"'
    calm = make_scene(more=more)
    calm.start_phones()
    undisturbed = calm.finish()

    scene = make_scene(more=more, point=SERVER_POINTS["model written, round open"])
    scene.start_phones()
    wait_until(scene.server_ended, "the server's death in the commit")
    scene.start_server()
    assert scene.finish() == undisturbed
    scene.check_counted_once()


@only("kotlin")
def test_law_4_a_phone_outlives_a_server_that_is_killed_at_every_step(make_scene):
    # Those in the commit apart from each other: a server that starts commits what it finds.
    order = ["enrolled, not answered", "committing", "place given, not answered"]
    order += ["model written, round open", "check-in answered", "round closed", "mid-fetch"]
    order += ["committed", "mid-upload", "recorded, not folded"]
    order += ["payload durable, not recorded", "folded, not answered"]
    assert sorted(order) == sorted(SERVER_POINTS)
    points = {
        **SERVER_POINTS,
        "mid-fetch": "fedvoice.server.intake.meter:DownloadBytes.chunk:after:1",
    }
    calm = make_scene(rounds=len(order))
    calm.start_phones()
    undisturbed = calm.finish()

    scene = make_scene(rounds=len(order), point=points[order[0]])
    scene.start_phones()
    for step, following in zip(order, [*order[1:], ""], strict=True):
        wait_until(scene.server_ended, f"the server's death at {step}")
        assert scene.server.returncode == -signal.SIGKILL
        scene.arm(points.get(following, "-"))
        scene.start_server()
    assert scene.finish() == undisturbed
    scene.check_counted_once()


@only("python")
@pytest.mark.parametrize("step", PHONE_POINTS)
def test_law_4_a_phone_killed_at_any_step_ends_with_the_same_model(make_scene, undisturbed, step):
    scene = make_scene()
    victim = scene.phones[0]
    victim.point = PHONE_POINTS[step]
    scene.start_phones()
    assert victim.wait() == -signal.SIGKILL, victim.log
    victim.start()
    assert scene.finish() == undisturbed
    scene.check_counted_once()


@only("python")
@pytest.mark.parametrize(
    ("step", "direction", "updates"),
    [
        ("mid-fetch of the program", Direction.DOWN, 0.1),
        ("mid-fetch of the weights", Direction.DOWN, 0.8),
        ("mid-upload", Direction.UP, 0.5),
        ("mid-upload of the second round", Direction.UP, 1.5),
    ],
)
def test_a_phone_killed_in_mid_transfer_goes_on(make_scene, undisturbed, step, direction, updates):
    scene = make_scene()
    victim = scene.phones[0]
    passed_bytes = int(updates * scene.update_bytes)
    killed = victim.line.when(direction, passed_bytes, victim.kill)
    scene.start_phones()
    wait_until(killed.is_set, step)
    victim.start()
    assert scene.finish() == undisturbed
    scene.check_counted_once()


@only("python")
def test_law_5_a_phone_that_never_comes_back_holds_nothing(make_scene):
    more = 'selection = "first"\nmin_population = 1\nlease_secs = 4.0'
    scene = make_scene(names=("anna", "berta", "clara"), cohort_size=2, rounds=1, more=more)
    dead, *others = scene.phones
    killed = dead.line.when(Direction.DOWN, 400_000, dead.kill)
    dead.start()
    wait_until(killed.is_set, "the death of a phone that holds a place")
    for phone in others:
        phone.start()
    for phone in others:
        assert phone.wait() == 0, phone.log
    # Its place went to the third phone; the round ended by its goal.
    assert scene.accepted() == {(1, "berta"): 1, (1, "clara"): 1}
    (row,) = round_rows(scene.store_dir)
    assert (row.status, row.ending, row.clients) == ("committed", "goal", 2)
