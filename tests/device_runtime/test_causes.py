"""Why a server cannot be called is told at the first try. Real servers and sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from fedvoice.device_runtime.calls import ServerCalls, connect
from fedvoice.device_runtime.cli import check_address
from fedvoice.device_runtime.enrolment import enrol
from fedvoice.device_runtime.identity import Identity
from fedvoice.device_runtime.retries import CallPolicy
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.invitation import Invitation, parse_invitation
from fedvoice.protocol.random import Purpose, Stream
from fedvoice.server.app import AggregationServer
from fedvoice.server.config import ServerConfig
from fedvoice.server.security.authority import Authority
from fedvoice.server.security.credentials import Credentials
from fedvoice.server.security.invite import make_invitations
from fedvoice.server.store.database import open_existing
from tests.server.support import make_package

Start = Callable[..., "Started"]
WILDCARDS = ["0.0.0.0:8700", "[::]:8700", "0:8700", "*:8700", "[::ffff:0.0.0.0]:8700"]


class Started:
    """A server that has no work yet."""

    def __init__(self, directory: Path, **settings: object) -> None:
        config = ServerConfig.model_validate({"bind": "127.0.0.1:0", "cohort_size": 5, **settings})
        self.server = AggregationServer(config, make_package(directory / "task"), directory / "s")
        self.address = self.server.start()

    def invitation(self, **changes: str) -> Invitation:
        database = open_existing(self.server.store_dir)
        token = Credentials(database).invite(60, time.time())
        database.close()
        pem = Authority(self.server.store_dir).pem.decode()
        fields = {"server": self.address, "enrol": self.server.enrol_address, "authority": pem}
        return Invitation(**{**fields, "token": token, **changes})


def starting(tmp_path: Path) -> Iterator[Start]:
    """What starts servers, and stops them in the end."""
    servers: list[Started] = []

    def make(**settings: object) -> Started:
        servers.append(Started(tmp_path / str(len(servers)), **settings))
        return servers[-1]

    yield make
    for each in servers:
        each.server.stop(grace_secs=0.2)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    yield from starting(tmp_path)


def told(call: Callable[[], object]) -> FedvoiceError:
    with pytest.raises(FedvoiceError) as caught:
        call()
    return caught.value


def never(secs: float) -> None:
    raise AssertionError(f"a second try after {secs} s")


def check_in(address: str, own: Identity | None) -> pb.CheckInReply:
    with connect(address, own) as channel:
        jitter = Stream(0, "anna", 0, Purpose.RETRY)
        calls = ServerCalls(channel, address, CallPolicy(), jitter, never, own)
        return calls.check_in(pb.CheckInRequest(client_id="anna"))


def enrolled(folder: Path, invitation: Invitation) -> Identity:
    return enrol(folder, invitation, "anna", CallPolicy(), never)


def moved(own: Identity, address: str) -> Identity:
    return Identity(**{**own.__dict__, "server": address})


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """Something that answers every connection with these bytes, and is no gRPC server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1024)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize("address", WILDCARDS)
def test_an_address_to_listen_on_is_not_called(address: str) -> None:
    error = told(lambda: check_address(address))
    assert (error.code, "listen on" in error.got) == (ErrorCode.BAD_CONFIG, True)
    authority = "-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n"
    for main, enrolment in ((address, "host:1"), ("host:1", address)):
        text = Invitation(main, enrolment, authority, "secret").encode()
        error = told(partial(parse_invitation, text, "here"))
        assert error.code is ErrorCode.BAD_CREDENTIALS
        assert "listen on" in error.got
        assert "fedvoice invite --server" in error.next_step


def test_no_invitation_is_made_to_an_address_to_listen_on(start: Start) -> None:
    server = start()
    for given in ({"server": "0.0.0.0:8700"}, {"enrol": "[::]:8701"}):
        error = told(partial(make_invitations, server.server.store_dir, **given))
        assert "listen on" in error.got
        assert "127.0.0.1" in error.next_step
        assert "--name" not in error.next_step


def test_a_server_that_listens_everywhere_is_invited_to_by_an_address(start: Start) -> None:
    for bind in ("0.0.0.0:0", "[::]:0"):
        (made,) = make_invitations(start(bind=bind).server.store_dir)
        assert parse_invitation(made.encode(), "here").server == made.server


def test_a_phone_without_tls_at_a_server_with_tls_is_told_at_once(start: Start) -> None:
    error = told(lambda: check_in(start().address, None))
    assert error.code is ErrorCode.BAD_CREDENTIALS
    assert "with TLS, called without" in error.got
    assert "fedvoice invite" in error.next_step


def test_a_phone_with_tls_at_a_server_without_is_told_at_once(start: Start, tmp_path: Path) -> None:
    secured, bare = start(), start(insecure=True)
    own = enrolled(tmp_path / "anna", secured.invitation())
    wrong = secured.invitation(enrol=bare.address)
    for error in (
        told(lambda: enrolled(tmp_path / "berta", wrong)),
        told(lambda: check_in(bare.address, moved(own, bare.address))),
    ):
        assert error.code is ErrorCode.SERVER_UNREACHABLE
        assert "without TLS" in error.got
        assert "--insecure" in error.next_step


def test_another_authority_is_told_from_a_refused_certificate(start: Start, tmp_path: Path) -> None:
    first, second = start(), start()
    own = enrolled(tmp_path / "anna", first.invitation())
    error = told(lambda: check_in(second.address, moved(own, second.address)))
    assert error.code is ErrorCode.BAD_CREDENTIALS
    assert "another authority" in error.got

    # The server is believed, and does not believe the phone.
    both = Identity(**{**own.__dict__, "authority": Authority(second.server.store_dir).pem})
    error = told(lambda: check_in(second.address, moved(both, second.address)))
    assert error.code is ErrorCode.BAD_CREDENTIALS
    assert "refuses the phone's certificate" in error.got
    assert "new invitation" in error.next_step


def test_a_name_that_the_certificate_lacks_is_told(start: Start, tmp_path: Path) -> None:
    server = start(bind="0.0.0.0:0")
    port = server.server.enrol_address.rpartition(":")[2]
    error = told(lambda: enrolled(tmp_path / "anna", server.invitation(enrol=f"127.0.0.2:{port}")))
    assert error.code is ErrorCode.BAD_CREDENTIALS
    assert "does not name 127.0.0.2" in error.got
    assert "--name 127.0.0.2" in error.next_step


def test_a_login_page_is_told_and_may_be_gone_later(start: Start, tmp_path: Path) -> None:
    own = enrolled(tmp_path / "anna", start().invitation())
    with answering(b"HTTP/1.1 302 Found\r\nLocation: http://login.example\r\n\r\n") as page:
        error = told(lambda: check_in(page, moved(own, page)))
    assert error.code is ErrorCode.SERVER_UNREACHABLE
    assert "web page" in error.got


def test_a_server_that_is_away_or_says_nothing_is_tried_again() -> None:
    with answering(b"") as mute, pytest.raises(AssertionError, match="a second try"):
        check_in(mute, None)
    with pytest.raises(AssertionError, match="a second try"):
        check_in("127.0.0.1:1", None)


def test_what_can_be_called_is_called(start: Start, tmp_path: Path) -> None:
    secured, bare = start(), start(insecure=True)
    own = enrolled(tmp_path / "anna", secured.invitation())
    assert check_in(secured.address, own).HasField("retry")
    assert check_in(bare.address, None).HasField("retry")
