"""A real server process for benchmarks, and what it uses of the machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fedvoice.protocol.codec import digest_of
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.generated import fedvoice_pb2_grpc
from fedvoice.protocol.parameters import ParameterTable
from fedvoice.protocol.task import (
    WEIGHTS_FILE,
    Bucket,
    FeatureSettings,
    TaskManifest,
    save_weights,
    write_package,
)
from fedvoice.protocol.vocabulary import Vocabulary
from fedvoice.server.security.authority import Authority
from fedvoice.server.security.invite import make_invitations

PROGRAM = b"not run here"
CHANNEL_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]


@dataclass(frozen=True)
class Served:
    """A running server."""

    address: str
    pid: int
    store: Path
    enrol_address: str = ""
    """Empty without TLS."""

    def channel(self, name: str) -> grpc.Channel:
        """A line of a client's own; with TLS it enrols by this name first."""
        if not self.enrol_address:
            return grpc.insecure_channel(self.address, options=CHANNEL_OPTIONS)
        (invitation,) = make_invitations(self.store, valid_secs=3600)
        request = certificate_request(name)
        with self.enrolment_channel() as channel:
            stub = fedvoice_pb2_grpc.EnrolmentStub(channel)  # type: ignore[no-untyped-call]
            answer = stub.Enrol(
                pb.EnrolRequest(token=invitation.token, certificate_request=request), timeout=30
            )
        certificate = x509.load_der_x509_certificate(answer.certificate)
        key = _key().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        credentials = grpc.ssl_channel_credentials(
            Authority(self.store).pem, key, certificate.public_bytes(serialization.Encoding.PEM)
        )
        return grpc.secure_channel(self.address, credentials, options=CHANNEL_OPTIONS)

    def enrolment_channel(self) -> grpc.Channel:
        """A line to the address of enrolment."""
        roots = grpc.ssl_channel_credentials(Authority(self.store).pem)
        return grpc.secure_channel(self.enrol_address, roots, options=CHANNEL_OPTIONS)

    @property
    def cpu_secs(self) -> float:
        """User and system time of the process so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def peak_bytes(self) -> int:
        """Its largest resident set so far."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return 0


@contextmanager
def serving(
    directory: Path, size: int, settings: str, *, updates: int, rounds: int, tls: bool = False
) -> Iterator[Served]:
    """`fedvoice serve` with a model of `size` floats; on the same directory it resumes.

    Args:
        settings: TOML. updates: of a round.
    """
    if not (directory / "task").exists():
        write_task(directory / "task", size)
    (directory / "server.toml").write_text(settings)
    (directory / "ready").unlink(missing_ok=True)
    command = [sys.executable, "-m", "fedvoice", "serve", "--task", directory / "task"]
    command += ["--store", directory / "store", "--config", directory / "server.toml"]
    command += ["--rounds", rounds, "--cohort-size", updates]
    command += ["--bind", "127.0.0.1:0", "--linger-secs", 60]
    command += ["--ready-file", directory / "ready"]
    with running([*command, *([] if tls else ["--insecure"])], directory / "ready") as server:
        yield server


@contextmanager
def running(command: list[Any], ready: Path) -> Iterator[Served]:
    """A server that writes its address to the first line of the file `ready`."""
    with subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE) as server:
        try:
            while not ready.exists():
                if server.poll() is not None:
                    raise SystemExit("the server did not start")
                time.sleep(0.05)
            address, *enrol = ready.read_text().split()
            yield Served(address, server.pid, ready.parent / "store", *enrol)
        finally:
            server.terminate()


def write_task(directory: Path, size: int) -> None:
    """A package of one parameter; the server never looks into the program."""
    directory.mkdir(parents=True)
    table = ParameterTable.from_shapes([("w", (size,))])
    save_weights(directory / WEIGHTS_FILE, np.zeros(size, dtype=np.float32), table)
    manifest = TaskManifest(
        name="intake",
        model_kind="ctc",
        model={},
        parameters=table,
        features=FeatureSettings(),
        buckets=(Bucket(name="s", frames=4, labels=2, batch=1),),
        vocabulary=Vocabulary.from_words(["yes"]),
        program_digest=digest_of(PROGRAM),
        weights_digest=digest_of((directory / WEIGHTS_FILE).read_bytes()),
    )
    write_package(directory, manifest, PROGRAM)


@cache
def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def certificate_request(name: str) -> bytes:
    """PKCS #10, DER, for a client of this name; one key for all of a process."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signed = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return signed.sign(_key(), hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def an_update(size: int) -> bytes:
    """Float32 [size], as small as updates are."""
    return np.random.default_rng(0).normal(0, 1e-3, size).astype(np.float32).tobytes()


def check_in_request(name: str) -> pb.CheckInRequest:
    """A phone that is ready to train on ten examples."""
    return pb.CheckInRequest(
        client_id=name,
        capabilities=pb.Capabilities(protocol_version=1, train_examples=10),
        conditions=pb.Conditions(charging=True, idle=True, unmetered=True),
    )


def report_header(
    work: pb.Assignment, name: str, update_bytes: int, digest: str, encoding: str = "float32"
) -> pb.ReportHeader:
    """The header of an update of ten examples."""
    return pb.ReportHeader(
        client_id=name,
        assignment_id=work.assignment_id,
        report_id=f"{work.assignment_id}-{work.round}",
        round=work.round,
        payload=pb.Blob(digest=digest, size_bytes=update_bytes, encoding=encoding),
        statistics=pb.Statistics(examples=10, steps=1, planned_memory_bytes=1),
    )


def report_messages(
    work: pb.Assignment,
    name: str,
    update: bytes,
    digest: str,
    chunk_bytes: int,
    encoding: str = "float32",
) -> Iterator[pb.ReportRequest]:
    """A report's header and chunks."""
    yield pb.ReportRequest(header=report_header(work, name, len(update), digest, encoding))
    for start in range(0, len(update), chunk_bytes):
        yield pb.ReportRequest(chunk=pb.Chunk(data=update[start : start + chunk_bytes]))
