"""The store's writer: order, one transaction for many, and no hole after a failure."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection

from fedvoice.server.store.database import Store, open_store
from fedvoice.server.store.tables import JournalRow, MetaRow, TrafficRow
from fedvoice.server.store.writer import Rows, Writer


@pytest.fixture
def store(tmp_path) -> Iterator[Store]:
    store = open_store(tmp_path)
    yield store
    store.close()


def test_writes_that_wait_for_the_disk_go_together(store: Store) -> None:
    begun, go_on, transactions = threading.Event(), threading.Event(), []

    @contextmanager
    def transaction(*, synced: bool = False) -> Iterator[Connection]:
        transactions.append(synced)
        begun.set()
        assert go_on.wait(20)
        with store.transaction(synced=synced) as connection:
            yield connection

    writer = Writer(transaction)
    first = writer.submit(Rows([JournalRow(1, "train", {"n": 0})]))
    assert begun.wait(20)
    others = [
        writer.submit(
            Rows([JournalRow(1, "train", {"n": n})], traffic=[TrafficRow(1, "train", "a", n, 1)]),
        )
        for n in range(1, 50)
    ]
    others.append(writer.submit(Rows(replaced=[MetaRow("k", 1), MetaRow("k", 2)], synced=True)))
    go_on.set()
    for done in [first, *others]:
        done.result(20)
    assert transactions == [False, True]
    assert [event["n"] for event in store.journal()] == list(range(50))
    assert store.traffic() == [TrafficRow(1, "train", "a", sum(range(50)), 49)]
    assert store.meta() == {"k": 2}
    assert writer.close(20)


def test_a_step_sees_what_was_handed_over_before_it(store: Store) -> None:
    seen: list[int] = []

    def count(connection: Connection) -> None:
        seen.append(len(connection.exec_driver_sql("select * from journal").all()))

    store.append_event(1, "train", {})
    store._writer.submit(count)
    store.append_event(1, "train", {})
    store._writer.submit(count).result(20)
    assert seen == [1, 2]


def test_after_a_failed_write_nothing_is_written_any_more(store: Store) -> None:
    def broken(connection: Connection) -> None:
        raise OSError("no space left")

    store.append_event(1, "train", {"n": 1}).result(20)
    failed = store._writer.submit(broken)
    with pytest.raises(OSError, match="no space"):
        failed.result(20)
    with pytest.raises(OSError, match="no space"):
        store.append_event(1, "train", {"n": 2}).result(20)
    assert [event["n"] for event in store.journal()] == [1]
