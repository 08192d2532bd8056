"""The durable record of a job, in SQLAlchemy Core: only `open_store` is specific to SQLite.

Events of the open round are the journal from which `algorithm.rounds` is replayed to where
it was; a report and its event are written in one transaction, so that an accepted report is neither
lost nor counted twice.

Whatever has been written survives the end of the process (`kill -9`). Reports and the ends of
rounds are also synced to the disk before the method returns, and with them everything before;
for the rest a power cut may lose the last moments: a client then asks for new work.

What the rounds write is handed to one writer, which keeps its order and puts many writes into one
transaction (`store.writer`); these methods return a future, which is done when they are stored.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Table,
    create_engine,
    event,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.files import replace_file
from fedvoice.server.store import tables as t
from fedvoice.server.store.files import store_full
from fedvoice.server.store.rows import add_traffic, select_where, upsert_rows
from fedvoice.server.store.writer import Rows, Step, Writer

DATABASE_FILE = "server.sqlite"
_CLOSING_SECS = 20.0


def open_store(directory: Path, *, durable: bool = True) -> Store:
    """Open or create the embedded store: SQLite in WAL mode. durable: see
    `ServerConfig.durability`."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / DATABASE_FILE
    if not path.exists():
        # Renamed into place: a reader that finds the file finds its tables.
        replace_file(path, _create_tables)
    synced = _sqlite(path, "FULL")
    t.METADATA.create_all(synced)  # tables that an older version did not have
    _add_columns(synced)
    _add_totals(synced)
    unsynced = _sqlite(path, "NORMAL")
    return Store(synced if durable else unsynced, unsynced, directory)


def _create_tables(path: Path) -> None:
    path.unlink(missing_ok=True)  # what a killed process left
    empty = create_engine(f"sqlite:///{path}")
    t.METADATA.create_all(empty)
    empty.dispose()


def _add_columns(engine: Engine) -> None:
    """Columns that an older version did not have; they may be NULL, so it goes on working, too."""
    for table in t.TABLES.values():
        for column in table.columns:
            try:
                with engine.begin() as connection:
                    if column.name not in _columns(connection, table):
                        kind = column.type.compile(engine.dialect)
                        connection.execute(
                            text(f"ALTER TABLE {table.name} ADD {column.name} {kind}")
                        )
            except OperationalError as error:
                if "duplicate column" not in str(error.orig):  # another process was faster
                    raise


def _add_totals(engine: Engine) -> None:
    """Totals of a store whose version did not have them."""
    columns = [column.name for column in t.TRAFFIC_TOTALS.columns]
    # One statement: a server may be adding to both tables meanwhile.
    none_yet = ~select(t.TRAFFIC_TOTALS.c.number).exists()
    with engine.begin() as connection:
        connection.execute(insert(t.TRAFFIC_TOTALS).from_select(columns, _TOTALS.where(none_yet)))


_TOTALS = select(
    t.TRAFFIC.c.number,
    t.TRAFFIC.c.kind,
    func.sum(t.TRAFFIC.c.bytes_down).label("bytes_down"),
    func.sum(t.TRAFFIC.c.bytes_up).label("bytes_up"),
).group_by(t.TRAFFIC.c.number, t.TRAFFIC.c.kind)


def _columns(connection: Connection, table: Table) -> set[str]:
    return {column["name"] for column in inspect(connection).get_columns(table.name)}


def _sqlite(path: Path, synchronous: str) -> Engine:
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def _set_up(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={synchronous}")
        cursor.execute("PRAGMA busy_timeout=10000")
        # Of each thread's connection: with 2 MB, as by default, a server grows for days.
        cursor.execute("PRAGMA cache_size=-256")
        cursor.close()

    return engine


def open_read_only(directory: Path) -> Store:
    """The store of a server that may be running, for reading; never blocks it.

    Raises:
        FedvoiceError: `not-found`.
    """
    engine = create_engine(f"sqlite:///file:{_existing(directory)}?mode=ro&uri=true")
    return Store(engine, engine, directory)


def open_existing(directory: Path) -> Store:
    """The store of a server that may be running, for reading and for invitations.

    Raises:
        FedvoiceError: `not-found`.
    """
    _existing(directory)
    return open_store(directory)


def _existing(directory: Path) -> Path:
    path = directory / DATABASE_FILE
    if path.is_file():
        return path
    raise FedvoiceError(
        ErrorCode.NOT_FOUND,
        where=str(path),
        got="no such file",
        wanted="a server's store",
        next_step="Give the directory that `fedvoice serve --store` was given.",
    )


class Store:
    """One job's record. Safe to call from several threads; writers take turns.

    Args:
        synced: connections whose commits are on the disk when they return.
        unsynced: connections whose commits survive the process, not a power cut.
    """

    def __init__(self, synced: Engine, unsynced: Engine, directory: Path) -> None:
        self._synced, self._engine, self.directory = synced, unsynced, directory
        self._writing = threading.Lock()
        self._present_columns: dict[Table, list[Column[Any]]] = {}
        self._writer = Writer(self.transaction)

    def flush(self, timeout_secs: float = _CLOSING_SECS) -> None:
        """Wait until all that was handed over is stored."""
        self._writer.submit(Rows()).result(timeout_secs)

    def close(self) -> None:
        """Write what was handed over and release the database."""
        self._writer.close(_CLOSING_SECS)
        self._synced.dispose()
        self._engine.dispose()

    # Writing

    def set_meta(self, values: Mapping[str, Any]) -> None:
        """Facts of the whole job, each a JSON value."""
        with self.transaction(synced=True) as connection:
            upsert_rows(connection, [t.MetaRow(key, value) for key, value in values.items()])

    def save_client(self, row: t.ClientRow) -> Future[None]:
        """Insert or replace."""
        return self._writer.submit(Rows(replaced=[row]))

    def date_clients(self, day: int) -> None:
        """Clients of a version that did not keep the day of their last call have called today."""
        with self.transaction() as connection:
            undated = t.CLIENTS.c.seen_day.is_(None)
            connection.execute(update(t.CLIENTS).where(undated).values(seen_day=day))

    def forget_clients(self, before_day: int) -> Future[None]:
        """Delete clients that have not called since."""
        old = t.CLIENTS.delete().where(t.CLIENTS.c.seen_day < before_day)
        return self.in_order(lambda connection: connection.execute(old))

    def forget_capabilities(self) -> set[str]:
        """Make every client not capable until its next check-in; the clients' ids."""
        with self.transaction(synced=True) as connection:
            connection.execute(update(t.CLIENTS).values(capable=False))
        return {row.client_id for row in self.clients()}

    def open_round(self, row: t.StoredRound) -> Future[None]:
        """Begin a round with an empty journal."""
        return self._writer.submit(Rows([row]))

    def append_event(
        self,
        number: int,
        work: str,
        happened: Mapping[str, Any],
        *,
        assignment: t.AssignmentRow | None = None,
        report: t.ReportRow | None = None,
        evaluation: t.EvaluationRow | None = None,
        traffic: Iterable[t.TrafficRow] = (),
    ) -> Future[None]:
        """Record an event of the open round and its rows in one transaction."""
        rows = (t.JournalRow(number, work, dict(happened)), assignment, report, evaluation)
        return self._writer.submit(
            Rows(
                [row for row in rows if row is not None],
                traffic=traffic,
                synced=report is not None,
            )
        )

    def close_round(
        self, number: int, work: str, closing: t.Closing, drop: Step | None = None
    ) -> Future[None]:
        """End the open round and drop its journal; `drop` deletes what is no longer wanted."""

        def close(connection: Connection) -> None:
            connection.execute(
                update(t.ROUNDS)
                .where(t.ROUNDS.c.number == number, t.ROUNDS.c.work == work)
                .values(
                    phase=closing.phase,
                    ending=closing.ending,
                    started_secs=closing.started_secs,
                    ended_secs=closing.ended_secs,
                    weights_digest=closing.weights_digest,
                    books=closing.books,
                )
            )
            connection.execute(t.JOURNAL.delete())
            add_traffic(connection, closing.traffic)
            if drop is not None:
                drop(connection)

        return self._writer.submit(close, synced=True)

    def in_order(self, step: Step) -> Future[None]:
        """Run a step after all that was handed over before."""
        return self._writer.submit(step)

    def add_traffic(self, rows: Iterable[t.TrafficRow]) -> Future[None]:
        """Add to the byte counts."""
        return self._writer.submit(Rows(traffic=rows))

    # Reading

    def meta(self) -> dict[str, Any]:
        """All facts of the job; empty in a new store."""
        with self._engine.connect() as connection:
            return {row.key: row.value for row in connection.execute(select(t.META))}

    def clients(self) -> list[t.ClientRow]:
        """Every client ever seen."""
        return self.find(t.ClientRow)

    def rounds(self) -> list[t.StoredRound]:
        """All rounds in the order in which they were opened."""
        return sorted(self.find(t.StoredRound), key=lambda row: row.seq or 0)

    def journal(self) -> list[dict[str, Any]]:
        """Events of the open round in order."""
        with self._engine.connect() as connection:
            query = select(t.JOURNAL.c.event).order_by(t.JOURNAL.c.seq)
            return [row.event for row in connection.execute(query)]

    def latest_secs(self) -> float:
        """Unix time of the last event known, by the server's clock then; 0 in a new store."""
        events = self.journal()
        ends = (row.ended_secs for row in self.find(t.StoredRound))
        return max([float(events[-1]["time_secs"]) if events else 0.0, *ends])

    def assignment(self, assignment_id: str) -> t.AssignmentRow | None:
        """One assignment."""
        found = self.find(t.AssignmentRow, assignment_id=assignment_id)
        return found[0] if found else None

    def report(self, client_id: str, report_id: str) -> t.ReportRow | None:
        """A report with a final answer."""
        found = self.find(t.ReportRow, client_id=client_id, report_id=report_id)
        return found[0] if found else None

    def reports(self, **where: int | str) -> list[t.ReportRow]:
        """Reports whose columns equal `where`, e.g. `number=3, work="train"`."""
        return self.find(t.ReportRow, **where)

    def evaluations(self, **where: int | str) -> list[t.EvaluationRow]:
        """Evaluations by client."""
        return self.find(t.EvaluationRow, **where)

    def traffic(self, **where: int | str) -> list[t.TrafficRow]:
        """Byte counts by round, kind and client."""
        return self.find(t.TrafficRow, **where)

    def traffic_totals(self) -> list[t.TrafficTotalRow]:
        """Byte counts by round and kind."""
        with self._engine.connect() as connection:
            there = inspect(connection).has_table(t.TRAFFIC_TOTALS.name)
            query = select(t.TRAFFIC_TOTALS) if there else _TOTALS
            found = connection.execute(query).mappings()
            return [t.TrafficTotalRow(**row) for row in found]

    def moved_bytes(self, kind: t.TrafficKind, number: int) -> int:
        """Bytes of a kind, both ways, of all rounds up to `number`."""
        totals = t.TRAFFIC_TOTALS.c
        moved = func.coalesce(func.sum(totals.bytes_down + totals.bytes_up), 0)
        query = select(moved).where(totals.kind == kind.value, totals.number <= number)
        with self._engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def find(self, row_type: type[t.Row], **where: int | str) -> list[t.Row]:
        """Rows of a table whose columns equal `where`."""
        table = t.TABLES[row_type]
        with self._engine.connect() as connection:
            query = select_where(tuple(self._present(connection, table)), tuple(where))
            return [row_type(**row) for row in connection.execute(query, where).mappings()]

    def _present(self, connection: Connection, table: Table) -> list[Column[Any]]:
        """The table's columns, less those that a store of an older version lacks, which is read
        without being written to."""
        if table not in self._present_columns:
            there = _columns(connection, table)
            self._present_columns[table] = [c for c in table.columns if c.name in there]
        return self._present_columns[table]

    @contextmanager
    def transaction(self, *, synced: bool = False) -> Iterator[Connection]:
        """Write all or nothing; `synced`: on the disk when it ends."""
        engine = self._synced if synced else self._engine
        try:
            with self._writing, engine.begin() as connection:
                yield connection
        except OperationalError as error:
            if "full" in str(error.orig):
                raise store_full(str(self._engine.url), str(error.orig)) from error
            raise
