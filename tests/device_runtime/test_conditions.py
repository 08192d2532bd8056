"""When a phone may work."""

from __future__ import annotations

from pathlib import Path

from fedvoice.device_runtime.conditions import (
    Conditions,
    Interruption,
    LinuxConditions,
    Requirements,
    ScriptedConditions,
    always,
)

UNPLUGGED = Conditions(charging=False)


def test_conditions_that_come_back_within_the_grace_stop_nothing() -> None:
    now = [0.0]
    day = ScriptedConditions(
        [(0, Conditions()), (10, UNPLUGGED), (14, Conditions()), (20, UNPLUGGED)],
        clock=lambda: now[0],
    )
    stop = Interruption(day, Requirements(), grace_secs=5, clock=lambda: now[0])
    stopped_at = []
    for now[0] in range(30):
        if stop():
            stopped_at.append(now[0])
    assert stopped_at[0] == 25
    assert stopped_at == list(range(25, 30)), "once stopped it stays so"
    assert stop.reasons == ["not charging"]


def test_a_metered_network_does_not_stop_training() -> None:
    stop = Interruption(always(Conditions(unmetered=False)), Requirements(), grace_secs=0)
    assert not stop()
    assert Requirements().missing(Conditions(unmetered=False)) == ["on a metered network"]


def test_only_what_is_required_is_missing() -> None:
    bad = Conditions(charging=False, idle=False, unmetered=False, battery_percent=10)
    assert len(Requirements(min_battery_percent=20).missing(bad)) == 4
    assert Requirements(charging=False, idle=False, unmetered=False).missing(bad) == []


def test_low_battery_stops_at_once_whatever_the_grace() -> None:
    low = always(Conditions(battery_percent=19))
    stop = Interruption(low, Requirements(min_battery_percent=20), grace_secs=60)
    assert stop()
    assert stop.reasons == ["battery at 19%"]


def test_what_the_device_does_not_say_is_not_looked_at_and_not_sent() -> None:
    silent = Conditions(battery_percent=None)
    assert Requirements(min_battery_percent=20).missing(silent) == []
    message = silent.to_message()
    for field in ("battery_percent", "free_storage_bytes", "free_memory_bytes"):
        assert not message.HasField(field)
    assert Conditions(battery_percent=0).to_message().HasField("battery_percent")


def supply(root: Path, name: str, **files: str) -> None:
    directory = root / "class" / "power_supply" / name
    directory.mkdir(parents=True)
    for file, text in files.items():
        (directory / file).write_text(text + "\n")


def test_linux_reads_batteries_and_chargers(tmp_path: Path) -> None:
    def read(root: Path) -> Conditions:
        return LinuxConditions(tmp_path, system_dir=root).read()

    desktop = read(tmp_path / "desktop")
    assert desktop.charging
    assert desktop.battery_percent is None, "no battery, no percentage"
    assert (desktop.free_storage_bytes or 0) > 0
    assert (desktop.free_memory_bytes or 0) > 0

    away = tmp_path / "away"
    supply(away, "AC", type="Mains", online="0")
    supply(away, "BAT0", type="Battery", capacity="63", status="Discharging")
    assert not read(away).charging
    assert read(away).battery_percent == 63

    plugged = tmp_path / "plugged"
    supply(plugged, "AC", type="Mains", online="1")
    supply(plugged, "BAT0", type="Battery", capacity="97", status="Not charging")
    assert read(plugged).charging
