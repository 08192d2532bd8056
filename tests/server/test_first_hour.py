"""What a server says while it waits, when it ends, and when it is told twice to stop."""

from __future__ import annotations

import signal
import socket
import time

import numpy as np
import pytest
from pydantic import ValidationError

from fedvoice.protocol.addresses import bracketed, is_loopback, proxy_for
from fedvoice.server.cli import Waiting
from fedvoice.server.config import ServerConfig
from tests.server.test_restart import Process

TINY = 64


def test_a_server_says_how_many_phones_it_has_seen_and_ends_at_the_second_signal(lab):
    process = Process(lab.directory, lab.package(size=TINY).directory, "waits")
    lab.phone(process.address, "a").check_in()
    assert process.process.stdout is not None
    for line in process.process.stdout:
        if "seen, waiting" in line and line.startswith("1"):
            break
    assert line.strip() == "1 of 3 phones seen, waiting"
    process.process.send_signal(signal.SIGTERM)
    # As timeout(1) does, which signals its child and then the group.
    process.process.send_signal(signal.SIGTERM)
    rest = process.process.communicate(timeout=20)[0]
    assert process.process.returncode == 143
    assert "Traceback" not in rest


def test_at_the_end_it_says_the_error_rate_and_what_can_be_done_next(lab):
    config = "cohort_size = 1\nrounds = 1\nevaluate_every = 1\n[retry]\nleast_secs = 0.01\n"
    process = Process(lab.directory, lab.package(size=TINY).directory, "ends", config)
    phone = lab.phone(process.address, "a", test_examples=1)
    phone.work_until_finished(lambda work: np.zeros(TINY, np.float32))
    deadline, said = time.monotonic() + 20, ""
    assert process.process.stdout is not None
    for line in process.process.stdout:
        said += line
        if line.startswith("next:") or time.monotonic() > deadline:
            break
    process.end(signal.SIGTERM)
    assert "WER 25.0 % on 4 words of 1 phone (round 1)" in said
    assert f"report: fedvoice report {lab.directory / 'ends'}" in said
    assert "next: fedvoice evaluate --task" in said
    assert "1 round, 1 update each" in said


def test_waiting_is_said_when_it_changes_and_once_a_minute():
    said: list[str] = []
    waiting = Waiting(said.append)
    for at_secs, found in [(0, (0, 2)), (2, (0, 2)), (4, (1, 2)), (50, (1, 2)), (65, (1, 2))]:
        waiting.look(found, at_secs)
    waiting.look(None, 66)
    waiting.look((1, 2), 67)
    assert said == ["0 of 2 phones seen, waiting", *["1 of 2 phones seen, waiting"] * 3]


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
@pytest.mark.parametrize("bind", ["[::1]:0", "::1:0"])
def test_a_phone_reaches_a_server_by_ipv6(lab, bind):
    package = lab.package(size=TINY)
    _, address = lab.serve(package, "six", bind=bind, cohort_size=1, rounds=1)
    assert address.startswith("[::1]:")
    phone = lab.phone(address, "a")
    assert phone.work_until_finished(lambda work: np.zeros(TINY, np.float32)) == 1


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("127.0.0.1:8700", "127.0.0.1:8700"),
        ("::1:8700", "[::1]:8700"),
        ("[::]:0", "[::]:0"),
        (":::0", "[::]:0"),
        ("fe80::1:9", "[fe80::1]:9"),
    ],
)
def test_ipv6_hosts_get_their_brackets(given, meant):
    assert bracketed(given) == meant
    assert ServerConfig(bind=given).bind == meant


@pytest.mark.parametrize("given", ["a:b:1", "1.2.3.4:5:6", "host:99999", "host", ":8700"])
def test_what_is_no_address_is_refused(given):
    with pytest.raises(ValidationError, match="wanted"):
        ServerConfig(bind=given)


def test_a_proxy_between_phone_and_server_is_named_without_its_password(monkeypatch):
    for name in ("grpc_proxy", "https_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://me:secret@proxy.example:3128")
    assert proxy_for("server.example:8700") == "http://proxy.example:3128"
    assert proxy_for("127.0.0.1:8700") == proxy_for("[::1]:8700") == ""
    monkeypatch.setenv("no_proxy", ".example")
    assert proxy_for("server.example:8700") == ""


@pytest.mark.parametrize("here", ["127.0.0.1:1", "127.5.0.1:1", "[::1]:1", "localhost:1"])
def test_calls_to_this_machine_ask_no_proxy(here):
    assert is_loopback(here)


def test_a_phone_of_this_machine_calls_past_a_proxy_that_leads_nowhere(lab, monkeypatch):
    from fedvoice.device_runtime.calls import connect
    from fedvoice.protocol.generated import fedvoice_pb2 as pb
    from fedvoice.protocol.generated import fedvoice_pb2_grpc as pb_grpc

    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as nowhere:  # takes calls and never answers
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{nowhere.getsockname()[1]}")
        _, address = lab.serve(lab.package(size=TINY), "near")
        with connect(address) as channel:
            request = pb.CheckInRequest(
                client_id="a", capabilities=pb.Capabilities(protocol_version=1)
            )
            reply = pb_grpc.AggregationStub(channel).CheckIn(request, timeout=10)
    assert reply.HasField("retry")
