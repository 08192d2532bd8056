"""`fedvoice deploy` says what a phone leaves out, in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fedvoice.android_harness.deploy import cli
from fedvoice.android_harness.deploy.adb import Adb
from fedvoice.android_harness.deploy.app import App, AppState
from fedvoice.android_harness.deploy.deployment import DeploymentSpec

NUMBERS = {"trained": 1, "bytes_up": 10, "bytes_down": 20, "train_secs": 1.5}
LEFT_OUT = {"used": 12, "left_out": {"wrong-sample-rate": 2, "unknown-token": 1}}
LINE = "12 used, 3 left out: 2 wrong-sample-rate, 1 unknown-token"
NOTHING_TO_SAY: list[dict[str, Any]] = [
    {},
    {"usage": None},
    {"usage": {"used": 12, "left_out": {}}},
]


def state(**books: Any) -> AppState:
    return AppState("anna", enrolled=True, consent=True, examples=15, books={**NUMBERS, **books})


def told(monkeypatch: pytest.MonkeyPatch, answer: AppState, *arguments: str) -> str:
    monkeypatch.setattr(cli, "_serials", lambda given: ["phone-1"])
    monkeypatch.setattr(App, "ask", lambda self, command: answer)
    done = CliRunner().invoke(cli.deploy, ["status", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_counts_are_one_line_for_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = told(monkeypatch, state(usage=LEFT_OUT)).splitlines()
    assert [line.split(maxsplit=1)[1] for line in lines if line.startswith("usage ")] == [LINE]


@pytest.mark.parametrize("books", NOTHING_TO_SAY)
def test_nothing_left_out_says_nothing(
    monkeypatch: pytest.MonkeyPatch, books: dict[str, Any]
) -> None:
    assert state(**books).left_out == ""
    assert "usage" not in told(monkeypatch, state(**books))


def test_the_numbers_are_in_the_json(monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(told(monkeypatch, state(usage=LEFT_OUT), "--json"))["usage"] == LEFT_OUT


@pytest.mark.parametrize(
    ("books", "end"), [({"usage": LEFT_OUT}, f"of training; {LINE}"), ({}, "of training")]
)
def test_a_deployment_ends_with_them(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    books: dict[str, Any],
    end: str,
) -> None:
    def deploy(adb: Adb, spec: DeploymentSpec, say: object) -> AppState:
        return state(**books)

    monkeypatch.setattr("fedvoice.android_harness.deploy.deployment.deploy", deploy)
    cli._deploy_all(["phone-1"], [DeploymentSpec(apk=Path("app.apk"))])
    assert capsys.readouterr().out.rstrip().endswith(end)
