"""The server's addresses: where it listens, with which certificate, and under which names."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

import grpc

from fedvoice.protocol.addresses import host_of, is_loopback
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.server.security.authority import Authority

_WILDCARDS = ("0.0.0.0", "::", "*")


def bind_insecure(server: grpc.aio.Server, bind: str) -> str:
    """Listen without encryption; the bound address.

    Raises:
        FedvoiceError: `address-in-use`; so does `bind_secure`.
    """
    return _bound(bind, lambda: server.add_insecure_port(bind))


def bind_secure(
    server: grpc.aio.Server,
    bind: str,
    authority: Authority,
    names: Sequence[str],
    *,
    phones_only: bool,
) -> str:
    """Listen with TLS; the bound address.

    Args:
        phones_only: whether callers need a certificate of this authority.
    """
    # Read once: it lasts as long as the authority. Credentials that gRPC may exchange while it
    # serves (its dynamic ones) brought the process down.
    pair = authority.server_pair(names)
    credentials = grpc.ssl_server_credentials(
        [pair],
        root_certificates=authority.pem if phones_only else None,
        require_client_auth=phones_only,
    )
    return _bound(bind, lambda: server.add_secure_port(bind, credentials))


def enrolment_bind(bind: str, enrol_bind: str, port: int) -> str:
    """Where to enrol: as set, or beside the main address, whose bound port is `port`."""
    host, _, wanted = bind.rpartition(":")
    return enrol_bind or f"{host}:{port + 1 if int(wanted) else 0}"


def certificate_names(bind: str, extra: Sequence[str]) -> list[str]:
    """Host names and addresses under which phones may call this machine."""
    found = {"localhost", "127.0.0.1", "::1", *extra}
    host = host_of(bind)
    if host not in _WILDCARDS:
        found.add(host)
    if not is_loopback(bind):
        name = socket.gethostname()
        found.add(name)
        found.update(_addresses(name))
    return sorted(found)


def reachable_host(bind: str) -> str:
    """The host by which other machines call an address; a wildcard becomes this machine's own
    address."""
    if host_of(bind) not in _WILDCARDS:
        return bind.rpartition(":")[0]
    outside = [a for a in _addresses(socket.gethostname()) if not is_loopback(f"{a}:0")]
    return outside[0] if outside else "127.0.0.1"


def _addresses(name: str) -> list[str]:
    """This machine's addresses, the one that leads outside first."""
    found = []
    # Sends nothing: it only asks which address would be used (192.0.2.0/24 is reserved).
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        found.append(probe.getsockname()[0])
    with suppress(OSError):  # a name that is not resolved
        found += [info[4][0] for info in socket.getaddrinfo(name, None)]
    return [a for a in dict.fromkeys(map(str, found)) if "%" not in a]


def _bound(bind: str, add: Callable[[], int]) -> str:
    try:
        port = add()
    except RuntimeError as error:
        raise _address_error(bind) from error
    if port == 0:
        raise _address_error(bind)
    return f"{bind.rpartition(':')[0]}:{port}"


def _address_error(bind: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.ADDRESS_IN_USE,
        where=bind,
        got="an address that cannot be bound",
        wanted="a free port of this machine, as host:port",
        next_step="Stop the other program, or choose another port (0 takes a free one).",
    )
