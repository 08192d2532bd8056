"""`fedvoice invite`: invitations for phones, and who is enrolled."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedvoice.protocol.errors import ErrorCode, FedvoiceError

if TYPE_CHECKING:
    from fedvoice.protocol.invitation import Invitation
    from fedvoice.server.security.authority import Authority
    from fedvoice.server.security.credentials import Credentials
    from fedvoice.server.store.database import Store


def invite(
    store: Annotated[Path, typer.Option(help="The server's store (serve's --store).")],
    server: Annotated[
        str,
        typer.Option(help="HOST:PORT by which phones reach the server. [where it listens]"),
    ] = "",
    enrol: Annotated[
        str,
        typer.Option(help="HOST:PORT of enrolment, likewise. [--server's host, the port it has]"),
    ] = "",
    count: Annotated[int, typer.Option(min=1, max=10_000, help="How many: one a phone.")] = 1,
    valid_hours: Annotated[float, typer.Option(min=0.01, help="Time to use them.")] = 24.0,
    out: Annotated[
        Path | None, typer.Option(help="Write them there, one a line; default: print them.")
    ] = None,
    revoke: Annotated[
        str, typer.Option(help="Refuse this client from now on, instead of inviting.")
    ] = "",
    list_clients: Annotated[
        bool, typer.Option("--list", help="Show who is enrolled, instead of inviting.")
    ] = False,
) -> None:
    """Make invitations with which phones are enrolled, one phone each.

    An invitation is one line of text. Give it to `fedvoice device --invitation`, to `fedvoice
    deploy`, or to the app. Anyone who holds it can enrol once in the phone's place: keep it secret.
    It works while the server runs, and while it does not.

    Example: fedvoice invite --store task-store --count 2 --out invitations.txt
    """
    if list_clients:
        _show(store)
    elif revoke:
        ended = revoke_client(store, revoke)
        typer.echo(f"{revoke}: {ended} certificates revoked; a new invitation lets it in again")
    else:
        invitations = make_invitations(store, count, valid_hours * 3600, server, enrol)
        lines = [invitation.encode() for invitation in invitations]
        if out is None:
            typer.echo("\n".join(lines))
        else:
            _write_private(out, "".join(f"{line}\n" for line in lines))
            typer.echo(
                f"{count} invitations for {invitations[0].server} (enrolment at "
                f"{invitations[0].enrol}), good for {valid_hours:g} hours: {out}"
            )


def make_invitations(
    store: Path, count: int = 1, valid_secs: float = 86400.0, server: str = "", enrol: str = ""
) -> list[Invitation]:
    """Invitations to the server of a store, whether it runs or not; each works once.

    Args:
        server, enrol: HOST:PORT as phones reach them; empty: where the server listens.

    Raises:
        FedvoiceError: `not-found` without a store, `bad-credentials` for a store whose server ran
            without TLS, `bad-config` for a host that the server's certificate does not name.
    """
    from fedvoice.protocol.invitation import Invitation
    from fedvoice.server.security.secured import open_authority

    with _opened(store) as (database, credentials):
        addresses = database.meta().get("addresses") or {}
        if not addresses.get("enrol"):
            raise FedvoiceError(
                ErrorCode.BAD_CREDENTIALS,
                where=str(store),
                got="a store whose server was last run without TLS, or never",
                wanted="a server that phones can be enrolled with",
                next_step="Start `fedvoice serve` once on this store without --insecure.",
            )
        authority = open_authority(database, store)
        main, beside = _addresses(addresses, server, enrol, authority)
        pem, now = authority.pem.decode("ascii"), time.time()
        return [
            Invitation(main, beside, pem, credentials.invite(valid_secs, now)) for _ in range(count)
        ]


def revoke_client(store: Path, client_id: str) -> int:
    """Refuse a client from now on; how many of its certificates that ends.

    Raises:
        FedvoiceError: `not-found` for a client that was never enrolled here.
    """
    with _opened(store) as (_, credentials):
        if client_id not in {client.client_id for client in credentials.clients()}:
            raise FedvoiceError(
                ErrorCode.NOT_FOUND,
                where="--revoke",
                got=f"client {client_id!r}, which was never enrolled here",
                wanted="a client of this store",
                next_step="`fedvoice invite --store STORE --list` shows them.",
            )
        return credentials.revoke(client_id)


@contextmanager
def _opened(store: Path) -> Iterator[tuple[Store, Credentials]]:
    from fedvoice.server.security.credentials import Credentials
    from fedvoice.server.store.database import open_existing

    database = open_existing(store)
    try:
        yield database, Credentials(database)
    finally:
        database.close()


def _addresses(
    bound: dict[str, str], server: str, enrol: str, authority: Authority
) -> tuple[str, str]:
    """(main, enrolment) as phones see them, held against the names in the certificate."""
    from fedvoice.protocol.addresses import check_can_be_called
    from fedvoice.protocol.invitation import is_address
    from fedvoice.server.security.listen import reachable_host

    ports = {name: address.rpartition(":")[2] for name, address in bound.items()}
    main = server or f"{reachable_host(bound['server'])}:{ports['server']}"
    host = main.rpartition(":")[0] if server else reachable_host(bound["enrol"])
    beside = enrol or f"{host}:{ports['enrol']}"
    known = authority.server_names()
    for option, address in (("--server", main), ("--enrol", beside)):
        if not is_address(address):
            raise _bad_address(option, repr(address), "HOST:PORT", "Correct it.")
        outside = reachable_host(bound["server"])
        check_can_be_called(
            address,
            option,
            f"Give the name or address by which phones reach this machine, such as {outside}:"
            f"{address.rpartition(':')[2]}; left out, it is where the server listens.",
        )
        host = address.rpartition(":")[0].strip("[]")
        if host not in known:
            raise _bad_address(
                option,
                f"host {host!r}, which the server's certificate does not name",
                f"one of {', '.join(known)}",
                f"Start the server with `--name {host}`, then invite again.",
            )
    return main, beside


def _bad_address(option: str, got: str, wanted: str, next_step: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.BAD_CONFIG, where=option, got=got, wanted=wanted, next_step=next_step
    )


def _show(store: Path) -> None:
    with _opened(store) as (_, credentials):
        for client in credentials.clients():
            day = time.strftime("%Y-%m-%d", time.gmtime(client.expires_secs))
            typer.echo(f"{client.client_id}  {'revoked' if client.revoked else f'until {day}'}")
        typer.echo(f"{credentials.open_invitations(time.time())} invitations can still be used")


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
