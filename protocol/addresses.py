"""Addresses of servers, host:port, and what stands between."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

from fedvoice.protocol.errors import ErrorCode, FedvoiceError

# In the order in which gRPC looks.
PROXY_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")


def host_of(address: str) -> str:
    """The host of host:port, without the brackets of IPv6."""
    return address.rpartition(":")[0].strip("[]")


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach an address, host:port or unix:path."""
    host = host_of(address)
    if address.startswith("unix:") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_wildcard(address: str) -> bool:
    """Whether host:port means every address of a machine: one to listen on, not to call."""
    host = host_of(address)
    if host in ("*", "0"):
        return True
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_unspecified


def check_can_be_called(
    address: str, where: str, next_step: str, code: ErrorCode = ErrorCode.BAD_CONFIG
) -> None:
    """Raise `code` at `where` for a host:port that only a server can use, to listen on."""
    if is_wildcard(address):
        raise FedvoiceError(
            code,
            where=where,
            got=f"{address}, an address to listen on: nobody can call it",
            wanted="the name or an address of the server's machine, as HOST:PORT",
            next_step=next_step,
        )


def bracketed(address: str) -> str:
    """host:port with IPv6 hosts in brackets: `::1:8700` is `[::1]:8700`.

    Raises:
        ValueError: if it is no host:port with a port of 0..65535.
    """
    host, _, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError("wanted host:port, the port at most 65535; 0 takes a free one")
    if ":" not in host or host.startswith("["):
        return address
    try:
        ipaddress.IPv6Address(host)
    except ValueError as error:
        raise ValueError(f"{host}: wanted a name or an address; IPv6 as [::1]:PORT") from error
    return f"[{host}]:{port}"


def proxy_for(address: str) -> str:
    """The proxy of the environment through which gRPC calls an address, without its password;
    empty: none."""
    if is_loopback(address):
        return ""
    found = next((os.environ[name] for name in PROXY_VARIABLES if os.environ.get(name)), "")
    if not found or proxy_bypass(host_of(address)):
        return ""
    parts = urlsplit(found)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
