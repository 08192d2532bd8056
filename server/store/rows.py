"""Rows as SQL: many of one table in one statement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import fields
from functools import cache
from typing import Any

from sqlalchemy import Column, Connection, Insert, Select, Table, bindparam, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from fedvoice.server.store import tables as t

_INSERT: dict[str, Callable[[Table], sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}
"""Databases that insert or update in one statement, in the same words."""


def insert_rows(connection: Connection, rows: Iterable[Any]) -> None:
    """New rows, in their order; a None key is assigned by the database."""
    for table, values in _by_table(rows).items():
        given = [name for name in values[0] if not _assigned(table, name, values[0][name])]
        inserted = values
        if len(given) < len(values[0]):
            inserted = [{name: row[name] for name in given} for row in values]
        connection.execute(_insert(table), inserted)


def upsert_rows(connection: Connection, rows: Iterable[Any], add: Iterable[str] = ()) -> None:
    """Insert rows, or put each in the place of the row with the same primary key; columns of `add`
    are added to what is there instead."""
    for table, values in _by_table(rows).items():
        connection.execute(_upsert(connection.dialect.name, table, tuple(add)), values)


# Statements are made once: to make one takes longer than to run it.


@cache
def _insert(table: Table) -> Insert:
    return insert(table)


@cache
def _upsert(dialect: str, table: Table, add: tuple[str, ...]) -> Insert:
    keys = [column.name for column in table.primary_key]
    wanted = _INSERT[dialect](table)
    others = [column.name for column in table.columns if column.name not in keys]
    changed = {
        name: table.c[name] + wanted.excluded[name] if name in add else wanted.excluded[name]
        for name in others
    }
    return wanted.on_conflict_do_update(index_elements=keys, set_=changed)


@cache
def select_where(columns: tuple[Column[Any], ...], names: tuple[str, ...]) -> Select[Any]:
    """Rows of the columns' table in which the columns `names` equal the parameters of these
    names."""
    table = columns[0].table
    return select(*columns).where(*(table.c[name] == bindparam(name) for name in names))


def add_traffic(connection: Connection, rows: Iterable[t.TrafficRow]) -> None:
    """Add to the byte counts, of each client and of all."""
    rows, added = list(rows), ("bytes_down", "bytes_up")
    upsert_rows(connection, rows, add=added)
    totals: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        entry = totals[row.number, row.kind]
        entry[0] += row.bytes_down
        entry[1] += row.bytes_up
    upsert_rows(
        connection, (t.TrafficTotalRow(*key, *entry) for key, entry in totals.items()), add=added
    )


def _by_table(rows: Iterable[Any]) -> dict[Table, list[dict[str, Any]]]:
    found: dict[Table, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        # Not `asdict`: it copies JSON values all the way down.
        table = t.TABLES[type(row)]
        found[table].append({name: getattr(row, name) for name in _names(table)})
    return found


@cache
def _names(table: Table) -> tuple[str, ...]:
    row_type = next(row_type for row_type, own in t.TABLES.items() if own is table)
    return tuple(field.name for field in fields(row_type))


def _assigned(table: Table, name: str, value: object) -> bool:
    return value is None and table.c[name].primary_key
