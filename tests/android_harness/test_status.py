"""`fedvoice deploy status` says why a phone does not train; `--now` why it has no session."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fedvoice.android_harness.deploy import cli, deployment
from fedvoice.android_harness.deploy.adb import Adb
from fedvoice.android_harness.deploy.app import App, AppState
from fedvoice.android_harness.deploy.deployment import DeploymentSpec
from fedvoice.protocol.errors import ErrorCode, FedvoiceError

BOOKS = {"sessions": 3, "last_happened": "trained", "last_error": "", "last_round": 2}
FACTS = [
    {"topic": "consent", "standing": "ok", "text": "The person has agreed."},
    {"topic": "charging", "standing": "blocked", "text": "The phone is waiting: not charging."},
    {"topic": "storage", "standing": "unknown", "text": "9 MB free."},
]
ANSWER = {"client_id": "anna", "enrolled": True, "consent": True, "examples": 3, "books": BOOKS}
STATE = AppState("anna", enrolled=True, consent=True, examples=3, books=BOOKS)


class Phone(Adb):
    """A phone whose app gives one answer; None: the app is not there."""

    def __init__(self, answer: dict[str, Any] | None, says: str = "") -> None:
        super().__init__("phone-1")
        self.answer, self.says = answer, says

    def shell(self, command: str, timeout_secs: float = 0.0) -> str:
        if command.startswith("pm list"):
            return "" if self.answer is None else "package:org.fedvoice.dictation\n"
        if self.says:
            raise FedvoiceError(
                ErrorCode.DEVICE_REFUSED,
                where="adb",
                got=self.says,
                wanted="success",
                next_step="Look.",
            )
        data = "" if self.answer is None else f', data="{json.dumps(self.answer)}"'
        return f"Broadcasting: Intent\nBroadcast completed: result=0{data}\n"


def status(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], *arguments: str) -> str:
    monkeypatch.setattr(cli, "_serials", lambda given: ["phone-1"])
    monkeypatch.setattr("fedvoice.android_harness.deploy.adb.Adb", lambda serial: Phone(answer))
    done = CliRunner().invoke(cli.deploy, ["status", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_answer_comes_first_and_then_every_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {**ANSWER, "explanation": {"lines": FACTS}}
    first, *rest = status(monkeypatch, answer).splitlines()
    assert first == FACTS[1]["text"]
    assert [line.split()[:2] for line in rest[:3]] == [[f["standing"], f["topic"]] for f in FACTS]
    assert json.loads(status(monkeypatch, answer, "--json"))["explanation"] == FACTS
    fine = {**ANSWER, "explanation": {"lines": [FACTS[0]]}}
    assert status(monkeypatch, fine).startswith("Nothing stands in the way")


def test_an_older_app_gives_no_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    assert status(monkeypatch, ANSWER).startswith("device ")


@pytest.mark.parametrize("says", ["", "Error: the app is not installed"])
def test_an_app_that_is_not_there_is_named(says: str) -> None:
    """Android answers with nothing, an emulated phone with an error."""
    with pytest.raises(FedvoiceError, match="it is not installed") as caught:
        App(Phone(None, says)).ask("status")
    assert caught.value.code is ErrorCode.NOT_FOUND
    assert "fedvoice deploy --device phone-1" in caught.value.next_step


def test_another_refusal_stays_what_it_is() -> None:
    with pytest.raises(FedvoiceError, match="the app has died"):
        App(Phone(ANSWER, "the app has died")).ask("status")


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (replace(STATE, consent=False), "--consent"),
        (replace(STATE, enrolled=False), "--store"),
        (replace(STATE, examples=0), "--examples"),
    ],
)
def test_a_session_that_cannot_be_is_not_asked_for(before: AppState, said: str) -> None:
    heard: list[str] = []
    spec = DeploymentSpec(apk=Path("app.apk"))
    state = deployment._session_now(App(Phone(None)), before, spec.wait_secs, heard.append)
    assert state is before
    (line,) = heard
    assert line.startswith("session: none")
    assert said in line
