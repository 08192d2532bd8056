"""What a store keeps, and for how long: rows of clients, weights of past rounds, credentials.

The books do not need what is dropped: a round's sums are stored when it closes, and bytes are added
up by round beside each client's (`store.ledger`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, delete

from fedvoice.protocol.cost import human_bytes
from fedvoice.server.store import tables as t
from fedvoice.server.store.database import DATABASE_FILE

DAY_SECS = 86400.0
_BY_ROUND = (t.ASSIGNMENTS, t.REPORTS, t.EVALUATIONS, t.TRAFFIC)
_FOLDERS = {"weights": "rounds", "optimizer": "optimizer", "blobs": "blobs", "updates": "payloads"}


def surplus_weights(there: Iterable[int], kept: int, best: int | None) -> list[int]:
    """Rounds whose weights go.

    Args:
        there: rounds whose weights exist. kept: `weights_of_rounds`. best: the round with the
            lowest word error rate; None: none was measured.
    """
    numbers = sorted(there)
    if not kept:
        return []
    return [number for number in numbers[:-kept] if number not in (0, best)]


def drop_rows_before(connection: Connection, number: int, telling: Collection[int] = ()) -> None:
    """Delete the clients' rows of rounds before `number`; not the reports of rounds whose norms are
    still `telling` (`algorithm.influence`), so that a restart comes to the same bound."""
    for table in _BY_ROUND:
        old = delete(table).where(table.c.number < number)
        if table is t.REPORTS:
            old = old.where(table.c.number.not_in(telling))
        connection.execute(old)


def drop_credentials(connection: Connection, before_secs: float) -> None:
    """Delete certificates and invitations that had run out at `before_secs` (Unix time). A used
    invitation answers its phone again until then."""
    for table in (t.CERTIFICATES, t.INVITATIONS):
        connection.execute(delete(table).where(table.c.expires_secs < before_secs))


@dataclass(frozen=True)
class Sizes:
    """Bytes on disk of a store's parts, by name."""

    parts: dict[str, int]

    def __str__(self) -> str:
        return ", ".join(f"{name} {human_bytes(count)}" for name, count in self.parts.items())


def sizes(store_dir: Path) -> Sizes:
    """What a store takes on the disk. The latest weights share the file of their round."""
    parts = {"database": sum(_bytes(path) for path in store_dir.glob(f"{DATABASE_FILE}*"))}
    for name, folder in _FOLDERS.items():
        parts[name] = sum(_bytes(path) for path in (store_dir / folder).glob("*"))
    parts["updates"] += sum(_bytes(path) for path in (store_dir / "spool").glob("*"))
    return Sizes(parts)


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # another thread has just dropped it
        return 0
