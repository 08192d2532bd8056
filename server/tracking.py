"""A server's run as results, and told to callbacks: trackers (`fedvoice serve --log`)."""

from __future__ import annotations

import time
from pathlib import Path

from fedvoice.reporting.callbacks import Callback, RunInfo
from fedvoice.reporting.following import Following
from fedvoice.reporting.results import Results
from fedvoice.server.store.books import read_books
from fedvoice.server.store.database import DATABASE_FILE, open_read_only


class Tracking:
    """Tells a callback what happens on a server whose store is open: at most once a call of
    `look`, in the thread that calls."""

    def __init__(self, told: Callback, store_dir: Path) -> None:
        self._told, self._store_dir = told, store_dir
        results = read_run(store_dir)
        name, rounds = str(results.config["name"]), int(results.config["rounds"])
        resumed = bool(results.rounds)
        told.began(RunInfo(name, rounds, config=results.config, folder=store_dir, resumed=resumed))
        self._following = Following(told, rounds)
        self._next_secs = 0.0

    def look(self) -> None:
        """Tell of the rounds that have ended since. Long books take long to read: that costs the
        server 5% of a core at most."""
        began_secs = time.monotonic()
        if began_secs >= self._next_secs:
            self._following.show(read_books(self._store_dir))
            self._next_secs = began_secs + 20 * (time.monotonic() - began_secs)

    def finish(self) -> None:
        """Tell of the last round and of the end; `results.json` then stands in the store."""
        self._following.show(read_books(self._store_dir), last=True)
        results = read_run(self._store_dir)
        results.write(self._store_dir)
        self._told.ended(results)


def is_store(folder: Path) -> bool:
    """Whether a server keeps its state in this folder."""
    return (folder / DATABASE_FILE).is_file()


def read_run(store_dir: Path) -> Results:
    """The results of a server's run so far; all its phones' test speech counts as `wer`.

    Raises:
        FedvoiceError: `not-found`.
    """
    opened = open_read_only(store_dir)
    try:
        meta = opened.meta()
        phones = len(opened.clients())
    finally:
        opened.close()
    config = {"rounds": 0, **(meta.get("config") or {})}
    books = read_books(store_dir)
    evaluated = [row for row in books.rounds if row.wer is not None]
    return Results(
        rounds=books.rounds,
        final={
            "wer": evaluated[-1].wer if evaluated else books.initial_wer,
            "heldout_wer": None,
            "initial_wer": books.initial_wer,
            "rounds": len(books.rounds),
            "complete": len(books.rounds) >= config["rounds"],
            "evaluation_bytes": books.evaluation_bytes,
            "install_bytes": books.install_bytes,
            "idle_bytes": books.idle_bytes,
        },
        config={"name": str(meta.get("task_name", "server")), "phones": phones, **config},
    )
