"""The embedded database's connections; `store.database` knows no more of SQLite than this."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import URL, Engine, NullPool, QueuePool, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from fedvoice.protocol.databases import LOCKED_SECS, check_database_path, reading_uri
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.server.store.files import store_full

_WAL, _SHM = "-wal", "-shm"


def plain_engine(path: Path) -> Engine:
    """One file, no journal beside it; for making a database."""
    return create_engine(URL.create("sqlite", database=str(path)), poolclass=NullPool)


def wal_engine(path: Path, synchronous: str) -> Engine:
    """Connections in WAL mode. synchronous: SQLite's setting, FULL or NORMAL.

    Raises:
        FedvoiceError: `bad-config` for a path that SQLite cannot open.
    """
    check_database_path(path)
    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=QueuePool)

    @event.listens_for(engine, "connect")
    def _set_up(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={round(LOCKED_SECS * 1000)}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={synchronous}")
        # Of each thread's connection: with 2 MB, as by default, a server grows for days.
        cursor.execute("PRAGMA cache_size=-256")
        cursor.close()

    return engine


def reading_engine(path: Path) -> Engine:
    """Connections that only read, also for who may not write to the file or its folder, also while
    a server writes to it; what it sees then is what was written last."""
    if _can_be_read(uri := reading_uri(path)):
        return _of_uri(uri)
    # SQLite makes files beside a database even for reading; where it may not, and no server that
    # runs has made them:
    if not _beside(path, _WAL).is_file():
        return _of_uri(reading_uri(path, fixed=True))
    folder = tempfile.mkdtemp(prefix="fedvoice-store-")
    copied = Path(folder) / path.name
    for ending in ("", _WAL):
        shutil.copyfile(_beside(path, ending), _beside(copied, ending))
    engine = _of_uri(reading_uri(copied))
    weakref.finalize(engine, shutil.rmtree, folder, ignore_errors=True)
    return engine


@contextmanager
def told_by_sqlite(path: Path) -> Iterator[None]:
    """What SQLite says of a disk, a lock or a right, as an error for a person."""
    try:
        yield
    except OperationalError as error:
        said = str(error.orig)
        if "full" in said:
            raise store_full(str(path), said) from error
        if "locked" in said:
            raise not_writable(
                path.parent, f"{path.name} held by another program for {LOCKED_SECS:g} s", _CLOSE
            ) from error
        if "readonly" in said:
            raise not_writable(path.parent, said) from error
        raise


_CLOSE = (
    "Close what holds it, such as a database browser, a backup or a copy, and run the same command "
    "again: it resumes."
)


def not_writable(
    directory: Path,
    got: str,
    next_step: str = "Run the command as the server's user, or on a disk that can be written.",
) -> FedvoiceError:
    """The error for a store that cannot be written."""
    return FedvoiceError(
        ErrorCode.NOT_WRITABLE,
        where=str(directory),
        got=got,
        wanted="a store that can be written",
        next_step=next_step,
    )


def _of_uri(uri: str) -> Engine:
    return create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(
            uri, uri=True, timeout=LOCKED_SECS, check_same_thread=False
        ),
        poolclass=QueuePool,
    )


def _can_be_read(uri: str) -> bool:
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=LOCKED_SECS)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        return False
    return True


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)
