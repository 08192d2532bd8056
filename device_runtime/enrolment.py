"""Enrolment and renewal: the two calls, with the retries of every other call."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedvoice.device_runtime import identity
from fedvoice.device_runtime.calls import connect
from fedvoice.device_runtime.causes import cause_of
from fedvoice.device_runtime.identity import Identity
from fedvoice.device_runtime.retries import CallPolicy, repeated
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.generated import fedvoice_pb2_grpc as pb_grpc
from fedvoice.protocol.invitation import PREFIX, Invitation, parse_invitation
from fedvoice.protocol.random import Purpose, Stream

_log = logging.getLogger(__name__)


def read_invitation(text: str) -> Invitation:
    """An invitation given as itself or as the path of a file that holds it.

    Raises:
        FedvoiceError: `bad-credentials`, `not-found`.
    """
    if text.strip().startswith(PREFIX):
        return parse_invitation(text, "--invitation")
    try:
        lines = Path(text).read_text(encoding="utf-8", errors="replace").split()
    except (OSError, ValueError) as error:
        raise FedvoiceError(
            ErrorCode.NOT_FOUND,
            where="--invitation",
            got=f"{text[:80]!r}, which cannot be read",
            wanted=f"a file, or the text itself, which begins with {PREFIX}",
            next_step="`fedvoice invite` on the server's machine makes one.",
        ) from error
    if len(lines) > 1:
        raise FedvoiceError(
            ErrorCode.BAD_CREDENTIALS,
            where=text,
            got=f"{len(lines)} invitations",
            wanted="one: each lets in one phone",
            next_step="Give each phone a line of its own.",
        )
    return parse_invitation(lines[0] if lines else "", text)


def enrol(
    folder: Path,
    invitation: Invitation,
    client_id: str,
    policy: CallPolicy,
    sleep: Callable[[float], None] = time.sleep,
) -> Identity:
    """Get a certificate for `client_id` and keep it. Idempotent.

    Raises:
        FedvoiceError: `bad-credentials` (the token is used up or has expired, the server is
            another than the invitation's), `server-unreachable`, `server-rejected`, `no-space`.
    """
    request = pb.EnrolRequest(
        token=invitation.token, certificate_request=identity.prepare(folder, client_id)
    )
    with connect(invitation.enrol, invitation.authority.encode("ascii")) as channel:
        stub: Any = pb_grpc.EnrolmentStub(channel)  # type: ignore[no-untyped-call]
        reply: pb.EnrolReply = repeated(
            "Enrol",
            invitation.enrol,
            lambda: stub.Enrol(request, timeout=policy.timeout_secs),
            policy=policy,
            jitter=Stream(0, client_id, 0, Purpose.RETRY),
            sleep=sleep,
            cause=lambda: cause_of(
                f"Enrol at {invitation.enrol}", invitation.enrol, invitation.authority.encode()
            ),
        )
    return identity.adopt(folder, invitation, reply.certificate, client_id)


def renew_if_due(own: Identity, policy: CallPolicy) -> Identity:
    """The identity to use, renewed when it is about to expire. A renewal that fails for now is
    tried again next time.

    Raises:
        FedvoiceError: `bad-credentials`.
    """
    if not own.renewal_due(datetime.datetime.now(datetime.UTC)):
        return own
    request = pb.RenewRequest(certificate_request=own.certificate_request())
    with connect(own.server, own) as channel:
        stub: Any = pb_grpc.EnrolmentStub(channel)  # type: ignore[no-untyped-call]
        try:
            reply: pb.EnrolReply = repeated(
                "Renew",
                own.server,
                lambda: stub.Renew(request, timeout=policy.timeout_secs),
                policy=CallPolicy(timeout_secs=policy.timeout_secs, max_attempts=1),
                jitter=Stream(0, own.client_id, 0, Purpose.RETRY),
                identity=own,
                cause=lambda: cause_of(f"Renew at {own.server}", own.server, own),
            )
        except FedvoiceError as error:
            if error.code is ErrorCode.BAD_CREDENTIALS:
                raise
            _log.warning("the certificate could not be renewed yet: %s", error)
            return own
    _log.info("certificate renewed")
    return own.renewed(reply.certificate)
