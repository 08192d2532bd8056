"""The store as others see it."""

from __future__ import annotations

import threading

import pytest

from fedvoice.protocol.errors import (
    ErrorCode,
    FedvoiceError,
)
from fedvoice.server.store.database import open_store
from fedvoice.server.store.ledger import (
    evaluation_rows,
    round_rows,
)
from fedvoice.server.store.tables import TrafficRow


def test_a_store_that_is_not_there_is_an_error(tmp_path):
    for read in (round_rows, lambda path: evaluation_rows(path, 0)):
        with pytest.raises(FedvoiceError) as caught:
            read(tmp_path)
        assert caught.value.code is ErrorCode.NOT_FOUND


def test_whoever_finds_the_database_finds_its_tables(tmp_path):
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
    store.add_traffic([TrafficRow(1, "train", "a", 10, 1), TrafficRow(1, "idle", "a", 5, 5)])
    store.add_traffic([TrafficRow(1, "train", "a", 2, 3)])
    assert sorted(store.traffic(), key=lambda row: row.kind) == [
        TrafficRow(1, "idle", "a", 5, 5),
        TrafficRow(1, "train", "a", 12, 4),
    ]
    store.close()
