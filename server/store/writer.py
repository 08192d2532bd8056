"""Writes the store's rows in the order in which they are handed over, many in one transaction.

Who hands rows over goes on at once and waits, where an answer depends on them, for the future.
While one transaction is being synced the next ones gather, so that the disk is asked once for all
of them.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import Connection

from fedvoice.server.store.rows import add_traffic, insert_rows, upsert_rows
from fedvoice.server.store.tables import TrafficRow

_MOST_AT_ONCE = 2000
"""Writes of one transaction: readers are not kept waiting by a very long one."""


@dataclass
class Rows:
    """Rows to write. new: inserted; replaced: inserted, or put in the place of the row with the
    same key; traffic: added to what is there. synced: on the disk before the future is done."""

    new: Sequence[Any] = ()
    replaced: Sequence[Any] = ()
    traffic: Iterable[TrafficRow] = ()
    synced: bool = False


class Transaction(Protocol):
    """`Store.transaction`."""

    def __call__(self, *, synced: bool = False) -> AbstractContextManager[Connection]:
        """A connection whose writes are kept whole, or not at all."""


Step = Callable[[Connection], object]


@dataclass
class _Write:
    work: Rows | Step
    synced: bool
    done: Future[None] = field(default_factory=Future)


class Writer:
    """One thread that writes. After a write that failed all later ones fail alike: a journal with a
    hole would be worse than a server that stops."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._writes: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._starting = threading.Lock()
        self._failure: BaseException | None = None

    def submit(self, work: Rows | Step, *, synced: bool = False) -> Future[None]:
        """Write rows, or run a step in a transaction of the writer's; done, or failed with what was
        raised, when it is in the store."""
        write = _Write(work, work.synced if isinstance(work, Rows) else synced)
        with self._starting:
            if not self._thread.is_alive() and self._thread.ident is None:
                self._thread.start()
        self._writes.put(write)
        return write.done

    def close(self, timeout_secs: float) -> bool:
        """Write what was handed over and end; False if that takes longer than the limit."""
        if self._thread.ident is None:
            return True
        self._writes.put(None)
        self._thread.join(timeout_secs)
        return not self._thread.is_alive()

    def _run(self) -> None:
        ended = False
        while not ended:
            batch = [self._writes.get()]
            while len(batch) < _MOST_AT_ONCE and not self._writes.empty():
                batch.append(self._writes.get())
            ended = None in batch
            writes = [write for write in batch if write is not None]
            if writes:
                self._write(writes)

    def _write(self, writes: Sequence[_Write]) -> None:
        try:
            if self._failure is not None:
                raise self._failure
            with self._transaction(synced=any(write.synced for write in writes)) as connection:
                for group in _grouped(writes):
                    if isinstance(group, Rows):
                        insert_rows(connection, group.new)
                        upsert_rows(connection, group.replaced)
                        add_traffic(connection, group.traffic)
                    else:
                        group(connection)
        except BaseException as error:
            self._failure = error
            for write in writes:
                write.done.set_exception(error)
            return
        for write in writes:
            write.done.set_result(None)


def _grouped(writes: Sequence[_Write]) -> Iterable[Rows | Step]:
    """Rows of neighbouring writes together: one statement a table."""
    gathered = Rows([], [], [])
    for write in writes:
        if isinstance(write.work, Rows):
            gathered = Rows(
                [*gathered.new, *write.work.new],
                [*gathered.replaced, *write.work.replaced],
                [*gathered.traffic, *write.work.traffic],
            )
        else:
            yield gathered
            yield write.work
            gathered = Rows([], [], [])
    yield gathered
