"""The store as others see it."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.server.store.database import DATABASE_FILE, open_read_only, open_store
from fedvoice.server.store.ledger import evaluation_rows, round_rows
from fedvoice.server.store.tables import ClientRow, EvaluationRow, StoredRound, TrafficRow


def test_a_store_that_is_not_there_is_an_error(tmp_path):
    for read in (round_rows, lambda path: evaluation_rows(path, 0)):
        with pytest.raises(FedvoiceError) as caught:
            read(tmp_path)
        assert caught.value.code is ErrorCode.NOT_FOUND


def test_a_reader_that_finds_the_database_finds_its_tables(tmp_path):
    stores = [tmp_path / str(i) for i in range(20)]
    failures = []

    def read() -> None:
        for store in stores:
            while True:
                try:
                    assert round_rows(store) == []
                    break
                except FedvoiceError:
                    continue  # not there yet
                except Exception as error:
                    failures.append(error)
                    return

    reader = threading.Thread(target=read)
    reader.start()
    for store in stores:
        open_store(store).close()
    reader.join()
    assert failures == []


def test_bytes_are_added_up_by_round_kind_and_phone(tmp_path):
    store = open_store(tmp_path)
    first = [TrafficRow(1, "train", "a", 10, 1), TrafficRow(1, "idle", "a", 5, 5)]
    store.add_traffic(first).result()
    store.add_traffic([TrafficRow(1, "train", "a", 2, 3)]).result()
    assert sorted(store.traffic(), key=lambda row: row.kind) == [
        TrafficRow(1, "idle", "a", 5, 5),
        TrafficRow(1, "train", "a", 12, 4),
    ]
    store.close()


def test_a_store_of_0_1_0_goes_on_being_used(tmp_path):
    """Its schema is recorded: every table has the same columns, in either direction."""
    schema = (Path(__file__).parent / "data" / "schema-0.1.0.sql").read_text()
    with closing(sqlite3.connect(tmp_path / DATABASE_FILE)) as old:
        old.executescript(schema)
    store = open_store(tmp_path)
    client = ClientRow("a", 3, 1, "0.1.0", True, 5.0)
    for examples in (3, 4):
        client = replace(client, train_examples=examples)
        store.save_client(client).result()
    assert store.clients() == [client]
    store.set_meta({"job": "j", "config": {"rounds": 2}})
    store.set_meta({"job": "k"})
    assert store.meta() == {"job": "k", "config": {"rounds": 2}}
    store.open_round(StoredRound(1, "train", "selecting", "", {"goal": 2}, {"alpha": 1.0})).result()
    store.append_event(1, "train", {"kind": "Started", "time_secs": 1.0}).result()
    assert [(row.number, row.seq) for row in store.rounds()] == [(1, 1)]
    assert store.journal() == [{"kind": "Started", "time_secs": 1.0}]
    store.add_traffic([TrafficRow(1, "train", "a", 2**40, 1)] * 2).result()
    assert store.traffic() == [TrafficRow(1, "train", "a", 2**41, 2)]
    store.close()


def test_characters_of_evaluations_are_added_to_a_store_of_0_1_0(tmp_path):
    """It is read as it is, and once a server has opened it, by both versions."""
    schema = (Path(__file__).parent / "data" / "schema-0.1.0.sql").read_text()
    with closing(sqlite3.connect(tmp_path / DATABASE_FILE)) as old:
        old.executescript(schema)
        old.execute("INSERT INTO evaluations VALUES (0, 'a', 1, 4, 4)")
        old.commit()
    before = open_read_only(tmp_path)
    assert before.evaluations() == [EvaluationRow(0, "a", 1, 4, 4)]
    before.close()
    for _ in range(2):  # the second time there is nothing to add
        open_store(tmp_path).close()
    store = open_store(tmp_path)
    counted = EvaluationRow(1, "a", 1, 4, 4, char_errors=2, chars=15)
    store.append_event(1, "evaluate", {}, evaluation=counted).result()
    with closing(sqlite3.connect(tmp_path / DATABASE_FILE)) as old:  # as 0.1.0 does
        names = "number, client_id, word_errors, words, utterances"
        old.execute(f"INSERT INTO evaluations ({names}) VALUES (2, 'a', 0, 4, 4)")
        old.commit()
        assert old.execute(f"SELECT {names} FROM evaluations").fetchall() == [
            (number, "a", wrong, 4, 4) for number, wrong in ((0, 1), (1, 1), (2, 0))
        ]
    assert store.evaluations(number=1) == [counted]
    assert store.evaluations(number=2) == [EvaluationRow(2, "a", 0, 4, 4)]
    store.close()
    store.close()
    open_store(tmp_path / "new").close()
    assert columns(tmp_path) == columns(tmp_path / "new")


def columns(directory):
    """Name, type, nullability and key of every column of every table."""
    with closing(sqlite3.connect(directory / DATABASE_FILE)) as database:
        tables = database.execute("select name from sqlite_master order by name").fetchall()
        return {
            name: database.execute(f"select * from pragma_table_info('{name}')").fetchall()
            for (name,) in tables
        }
