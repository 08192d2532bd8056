"""Enrolment: one-time tokens, certificates, and who may call. Real sockets with TLS."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.generated import fedvoice_pb2_grpc
from fedvoice.server.calls import shown_certificate
from fedvoice.server.intake import service
from fedvoice.server.security import enrolment
from fedvoice.server.security.authority import Authority
from fedvoice.server.security.credentials import Credentials, TokenRefusedError
from fedvoice.server.security.enrolment import WRONG_TRIES_A_MINUTE, BadRequestError, read_request
from fedvoice.server.store.database import open_existing

KEY = ec.generate_private_key(ec.SECP256R1())


def request(name: str, key=KEY, names: int = 1) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] * names)
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, digest)
    return made.public_bytes(serialization.Encoding.DER)


def private_pem(key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


class Secured:
    """A server with TLS, and calls to it."""

    def __init__(self, lab) -> None:
        self.lab = lab
        self.server, self.address = lab.serve(lab.package(), insecure=False, cohort_size=1)
        self.store_dir = self.server.store_dir
        self.authority = Authority(self.store_dir)
        self.database = open_existing(self.store_dir)
        self.credentials = Credentials(self.database)

    def invite(self, valid_secs: float = 60) -> str:
        return self.credentials.invite(valid_secs, time.time())

    def enrol(self, token: str, csr: bytes) -> pb.EnrolReply:
        credentials = grpc.ssl_channel_credentials(self.authority.pem)
        with grpc.secure_channel(self.server.enrol_address, credentials) as channel:
            stub = fedvoice_pb2_grpc.EnrolmentStub(channel)
            return stub.Enrol(pb.EnrolRequest(token=token, certificate_request=csr), timeout=20)

    def channel(self, certificate_der: bytes, key=KEY) -> grpc.Channel:
        certificate = x509.load_der_x509_certificate(certificate_der)
        credentials = grpc.ssl_channel_credentials(
            self.authority.pem,
            private_pem(key),
            certificate.public_bytes(serialization.Encoding.PEM),
        )
        return grpc.secure_channel(self.address, credentials)

    def close(self) -> None:
        self.database.close()


@pytest.fixture
def secured(lab):
    secured = Secured(lab)
    yield secured
    secured.close()


def calls_of(channel: grpc.Channel, client_id: str):
    """The four calls and the renewal, in the name of `client_id`."""
    stub = fedvoice_pb2_grpc.AggregationStub(channel)
    renewal = fedvoice_pb2_grpc.EnrolmentStub(channel)
    header = pb.ReportHeader(client_id=client_id, assignment_id="a", report_id="r")
    return {
        "CheckIn": lambda: stub.CheckIn(pb.CheckInRequest(client_id=client_id)),
        "Fetch": lambda: list(stub.Fetch(pb.FetchRequest(client_id=client_id, digest="0" * 64))),
        "ReportStatus": lambda: stub.ReportStatus(
            pb.ReportStatusRequest(client_id=client_id, report_id="r")
        ),
        "Report": lambda: stub.Report(iter([pb.ReportRequest(header=header)])),
        "Renew": lambda: renewal.Renew(pb.RenewRequest(certificate_request=request(client_id))),
    }


def code_of(call) -> grpc.StatusCode:
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_an_enrolled_phone_may_make_every_call(secured):
    with secured.channel(secured.enrol(secured.invite(), request("anna")).certificate) as channel:
        codes = {name: code_of(call) for name, call in calls_of(channel, "anna").items()}
    assert codes.pop("Fetch") is grpc.StatusCode.NOT_FOUND  # such a blob there is not
    assert set(codes.values()) == {grpc.StatusCode.OK}


def test_no_call_is_answered_in_another_clients_name(secured):
    with secured.channel(secured.enrol(secured.invite(), request("anna")).certificate) as channel:
        codes = {code_of(call) for call in calls_of(channel, "berta").values()}
    assert codes == {grpc.StatusCode.PERMISSION_DENIED}


def test_a_revoked_phone_is_refused_at_once_and_a_new_invitation_lets_it_in(secured):
    reply = secured.enrol(secured.invite(), request("anna"))
    with secured.channel(reply.certificate) as channel:
        assert code_of(calls_of(channel, "anna")["CheckIn"]) is grpc.StatusCode.OK
        assert secured.credentials.revoke("anna") == 1
        codes = {code_of(call) for call in calls_of(channel, "anna").values()}
    assert codes == {grpc.StatusCode.UNAUTHENTICATED}
    other = ec.generate_private_key(ec.SECP256R1())
    again = secured.enrol(secured.invite(), request("anna", other))
    with secured.channel(again.certificate, other) as channel:
        assert code_of(calls_of(channel, "anna")["CheckIn"]) is grpc.StatusCode.OK


def test_without_a_certificate_there_is_no_main_address(secured):
    for credentials in (
        grpc.ssl_channel_credentials(secured.authority.pem),
        grpc.local_channel_credentials(),
    ):
        with grpc.secure_channel(secured.address, credentials) as channel:
            call = calls_of(channel, "anna")["CheckIn"]
            assert code_of(call) is grpc.StatusCode.UNAVAILABLE


def test_the_enrolment_address_enrols_and_nothing_else(secured):
    credentials = grpc.ssl_channel_credentials(secured.authority.pem)
    with grpc.secure_channel(secured.server.enrol_address, credentials) as channel:
        codes = {code_of(call) for call in calls_of(channel, "anna").values()}
    assert codes == {grpc.StatusCode.UNIMPLEMENTED}


def test_a_token_works_once_and_a_lost_reply_costs_nothing(secured):
    token = secured.invite()
    first = secured.enrol(token, request("anna"))
    assert secured.enrol(token, request("anna")).certificate == first.certificate
    other = ec.generate_private_key(ec.SECP256R1())
    for csr in (request("anna", other), request("berta")):
        refused = code_of(lambda csr=csr: secured.enrol(token, csr))
        assert refused is grpc.StatusCode.PERMISSION_DENIED


def test_an_expired_or_invented_token_is_refused(secured):
    for token in (secured.invite(valid_secs=-1), "invented", ""):
        refused = code_of(lambda token=token: secured.enrol(token, request("anna")))
        assert refused is grpc.StatusCode.PERMISSION_DENIED


def test_two_phones_race_for_one_token_and_one_wins(secured):
    token, start = secured.invite(), threading.Barrier(8)
    codes = []

    def race(number: int) -> None:
        csr = request(f"phone-{number}", ec.generate_private_key(ec.SECP256R1()))
        start.wait()
        codes.append(code_of(lambda: secured.enrol(token, csr)))

    threads = [threading.Thread(target=race, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes.count(grpc.StatusCode.OK) == 1
    assert codes.count(grpc.StatusCode.PERMISSION_DENIED) == 7
    assert len(secured.credentials.clients()) == 1


def test_a_name_that_is_enrolled_is_not_given_to_another_key(secured):
    secured.enrol(secured.invite(), request("anna"))
    other, token = ec.generate_private_key(ec.SECP256R1()), secured.invite()
    refused = code_of(lambda: secured.enrol(token, request("anna", other)))
    assert refused is grpc.StatusCode.ALREADY_EXISTS
    # The invitation is not spent by that.
    assert secured.enrol(token, request("berta", other)).certificate


def test_guessing_tokens_is_slowed_down(secured):
    def guess() -> grpc.StatusCode:
        return code_of(lambda: secured.enrol("guess", request("anna")))

    codes = [guess() for _ in range(WRONG_TRIES_A_MINUTE + 1)]
    assert codes[:-1] == [grpc.StatusCode.PERMISSION_DENIED] * WRONG_TRIES_A_MINUTE
    assert codes[-1] is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_only_the_hash_of_a_token_is_kept(secured):
    token = secured.invite()
    secured.enrol(token, request("anna"))
    kept = b"".join(p.read_bytes() for p in secured.store_dir.rglob("*") if p.is_file())
    assert token.encode() not in kept
    with pytest.raises(TokenRefusedError):
        secured.credentials.redeem("?", "x", "k", secured.authority.issue(KEY.public_key(), "x"), 0)


def test_a_renewed_certificate_may_have_another_key(secured):
    first = secured.enrol(secured.invite(), request("anna"))
    other = ec.generate_private_key(ec.SECP256R1())
    with secured.channel(first.certificate) as channel:
        stub = fedvoice_pb2_grpc.EnrolmentStub(channel)
        second = stub.Renew(pb.RenewRequest(certificate_request=request("anna", other)))
        # The reply may be lost: the old one holds until it runs out.
        assert code_of(calls_of(channel, "anna")["CheckIn"]) is grpc.StatusCode.OK
    with secured.channel(second.certificate, other) as channel:
        assert code_of(calls_of(channel, "anna")["CheckIn"]) is grpc.StatusCode.OK


def tampered() -> bytes:
    good = bytearray(request("anna"))
    good[-1] ^= 1
    return bytes(good)


@pytest.mark.parametrize(
    ("csr", "why"),
    [
        (b"", "PKCS"),
        (b"\x30\x03\x02\x01\x00", "PKCS"),
        (request("x" * 64) + b"\0" * 9000, "bytes"),
        (tampered(), "own key"),
        (request("anna", ec.generate_private_key(ec.SECP384R1())), "P-256"),
        (request("anna", ed25519.Ed25519PrivateKey.generate()), "P-256"),
        (request("anna", rsa.generate_private_key(65537, 1024)), "2048"),
        (request("line\nbreak"), "client_id"),
        (request("anna", names=2), "client_id"),
        (request("anna", names=0), "client_id"),
    ],
)
def test_a_request_that_is_not_signed(csr, why):
    with pytest.raises(BadRequestError, match=why):
        read_request(csr)


def test_a_phone_may_bring_an_rsa_key():
    assert read_request(request("anna", rsa.generate_private_key(65537, 2048)))[1] == "anna"


def test_certificates_are_read_in_the_loop_alone(lab, monkeypatch):
    """A thread goes on when its call has ended, and reads what gRPC has freed."""
    readers = set()

    def noted(context):
        readers.add(threading.current_thread().name)
        return shown_certificate(context)

    for module in (enrolment, service):
        monkeypatch.setattr(module, "shown_certificate", noted)
    secured = Secured(lab)
    with secured.channel(secured.enrol(secured.invite(), request("anna")).certificate) as channel:
        for call in calls_of(channel, "anna").values():
            code_of(call)
    secured.database.close()
    assert readers == {"loop"}


# The authority


def test_a_restarted_server_keeps_its_authority_and_its_phones(secured):
    certificate = secured.enrol(secured.invite(), request("anna")).certificate
    secured.server.stop()
    _, secured.address = secured.lab.serve(secured.lab.package(), insecure=False)
    assert Authority(secured.store_dir).pem == secured.authority.pem
    with secured.channel(certificate) as channel:
        assert code_of(calls_of(channel, "anna")["CheckIn"]) is grpc.StatusCode.OK


def test_private_keys_are_nobody_elses(secured):
    folder = secured.store_dir / "tls"
    assert folder.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == dict.fromkeys(("authority.pem", "authority-key.pem", "server.pem"), 0o600)


def test_new_names_give_a_new_server_certificate_by_the_same_authority(secured):
    before = (secured.store_dir / "tls" / "server.pem").read_bytes()
    secured.server.stop()
    secured.lab.serve(secured.lab.package(), insecure=False)
    assert (secured.store_dir / "tls" / "server.pem").read_bytes() == before
    secured.lab.servers[-1].stop()
    secured.lab.serve(secured.lab.package(), insecure=False, names=["speech.example"])
    after = Authority(secured.store_dir)
    assert "speech.example" in after.server_names()
    assert after.pem == secured.authority.pem


def test_the_servers_certificate_lasts_as_long_as_its_authority(secured):
    secured.server.stop()
    path = secured.store_dir / "tls" / "server.pem"
    ends = secured.authority.certificate.not_valid_after_utc
    assert x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc == ends
    # An earlier fedvoice made it for a year.
    names = secured.authority.server_names()
    certificate = secured.authority.issue(KEY.public_key(), "for ninety days").certificate
    pem = x509.load_der_x509_certificate(certificate).public_bytes(serialization.Encoding.PEM)
    path.write_bytes(private_pem(KEY) + pem)
    secured.lab.serve(secured.lab.package(), insecure=False)
    assert x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc == ends
    assert secured.authority.server_names() == names


def test_phones_may_all_connect_at_once(secured, tmp_path):
    phone = tmp_path / "phone.pem"
    der = secured.enrol(secured.invite(), request("anna")).certificate
    pem = x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)
    phone.write_bytes(private_pem(KEY) + pem)
    host, _, port = secured.address.rpartition(":")

    def handshake(_: int) -> str | None:
        context = ssl.create_default_context(cadata=secured.authority.pem.decode())
        context.load_cert_chain(phone)
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection((host, int(port)), timeout=60) as line,
            context.wrap_socket(line, server_hostname=host) as secured_line,
        ):
            return secured_line.selected_alpn_protocol()

    with ThreadPoolExecutor(100) as phones:
        assert set(phones.map(handshake, range(400))) == {"h2"}
    with secured.channel(der) as channel:
        assert code_of(calls_of(channel, "anna")["CheckIn"]) is grpc.StatusCode.OK


@pytest.mark.parametrize("damage", ["all", "authority.pem", "authority-key.pem", "cut", "server"])
def test_a_damaged_authority_is_named_and_never_replaced(secured, damage):
    secured.server.stop()
    folder = secured.store_dir / "tls"
    if damage == "all":
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    elif damage == "cut":
        key = folder / "authority-key.pem"
        key.write_bytes(key.read_bytes()[:60])
    elif damage == "server":
        (folder / "server.pem").write_bytes(b"")
    else:
        (folder / damage).unlink()
    left = sorted(folder.glob("*"))
    with pytest.raises(FedvoiceError) as caught:
        secured.lab.serve(secured.lab.package(), insecure=False)
    assert caught.value.code is ErrorCode.BAD_CREDENTIALS
    assert "tls" in caught.value.where
    assert sorted(folder.glob("*")) == left


def test_another_authority_in_its_place_is_refused(secured, tmp_path):
    secured.server.stop()
    other = secured.lab.serve(secured.lab.package(), "other", insecure=False)[0]
    (secured.store_dir / "tls").rename(tmp_path / "aside")
    (other.store_dir / "tls").rename(secured.store_dir / "tls")
    with pytest.raises(FedvoiceError, match="another authority"):
        secured.lab.serve(secured.lab.package(), insecure=False)


def test_a_request_that_is_damaged_anywhere_is_a_bad_request():
    """Whatever the library raises: another version, texts of another type, ... Outside of what is
    signed, which is all that counts, some bytes may be others."""
    good, refused = request("phone"), 0
    for at in range(len(good)):
        for value in (0, 1, 12, 48, 255):
            damaged = good[:at] + bytes([value]) + good[at + 1 :]
            try:
                assert read_request(damaged)[1] == "phone"
            except BadRequestError:
                refused += 1
    assert refused > 4 * len(good)
