"""`fedvoice serve`."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from fedvoice.protocol.addresses import is_loopback
from fedvoice.protocol.cost import human_bytes
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.files import write_file
from fedvoice.protocol.notes import counted
from fedvoice.server.config import ServerConfig, parse_config, read_config_fields
from fedvoice.server.store.ledger import RoundRow

EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
_LOOK_SECS = 2.0
_WAITING_SECS = 60.0


class _Terminated(BaseException):
    """Raised on SIGTERM."""


def serve(
    task: Annotated[Path, typer.Option(help="Task package: what `fedvoice export` wrote.")],
    store: Annotated[
        Path | None,
        typer.Option(
            help="The server's state; give the same one to resume. [TASK-store]",
        ),
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Training rounds in all (R). [10]")] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML with the fields of server/config.py.")
    ] = None,
    bind: Annotated[
        str | None, typer.Option(help="host:port; port 0 takes a free one. [127.0.0.1:8700]")
    ] = None,
    enrol_bind: Annotated[
        str | None, typer.Option(help="host:port for enrolment. [--bind's host, its port + 1]")
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(help="Another host name or address by which phones call; repeatable."),
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure", help="No TLS, no enrolment: for one machine or a private network."
        ),
    ] = False,
    cohort_size: Annotated[int | None, typer.Option(help="Updates per round (K). [10]")] = None,
    download_encoding: Annotated[
        str | None,
        typer.Option(
            help="How weights go to phones: float32, float16 (a half of the bytes), int8 (a "
            "quarter), each also with +zstd. [float32]"
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Draws the cohorts. [0]")] = None,
    ready_file: Annotated[
        Path | None,
        typer.Option(
            help="Once it listens, the bound address is written here; second line: enrolment's."
        ),
    ] = None,
    linger_secs: Annotated[
        float, typer.Option(help="How long to tell phones 'finished' after the last round.")
    ] = 30.0,
    log: Annotated[
        list[str] | None,
        typer.Option(
            "--log",
            help="Also keep the run in an experiment tracker: csv, tensorboard, mlflow, wandb, or "
            "a callback of your own; repeatable.",
        ),
    ] = None,
    verbose: Annotated[bool, typer.Option(help="Also log refusals and each round's end.")] = False,
) -> None:
    """Run the aggregation server for one task until its rounds are done.

    Phones call CheckIn and get work or a time to come back. A round ends when K updates are in
    (goal), when its time is up with enough of them (timeout), or is abandoned; a line says which.
    Weights appear in STORE/weights.safetensors and STORE/rounds/, the books in
    STORE/server.sqlite.

    Traffic is encrypted, and phones need a certificate: `fedvoice invite --store STORE` makes
    invitations with which they get one. The server makes its own authority in STORE/tls at its
    first start.

    Ctrl-C or SIGTERM stops cleanly, and even `kill -9` loses no update that a phone was told is
    accepted: run the same command again to resume.

    Example: fedvoice serve --task runs/demo/task --rounds 20 --cohort-size 10
    """
    from rich.console import Console

    from fedvoice.algorithm.rounds import RoundState
    from fedvoice.protocol.task import load_package
    from fedvoice.protocol.waiting import wait_for_stop
    from fedvoice.reporting.callbacks import Callbacks, make_callbacks
    from fedvoice.server.app import AggregationServer
    from fedvoice.server.memory import one_heap
    from fedvoice.server.store.ledger import round_row, round_rows
    from fedvoice.server.store.retention import sizes
    from fedvoice.server.tracking import Tracking

    one_heap()
    console = Console(highlight=False, soft_wrap=True)
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
    )
    fields: dict[str, Any] = read_config_fields(config) if config else {}
    given: dict[str, Any] = {
        "rounds": rounds,
        "bind": bind,
        "cohort_size": cohort_size,
        "download_encoding": download_encoding,
        "seed": seed,
    }
    given |= {"enrol_bind": enrol_bind, "names": name, "insecure": insecure or None}
    fields |= {key: value for key, value in given.items() if value is not None}
    settings = parse_config(fields, str(config or "command line"))
    check_insecure(settings, asked=insecure)
    tracked = make_callbacks(log or [])
    package = load_package(task)
    store_dir = store or default_store(task)

    def show(state: RoundState) -> None:
        row = round_row(store_dir, state.rules.number)
        assert row is not None, "it has just been closed"
        console.print(describe(row, state.rules.work))

    server = AggregationServer(settings, package, store_dir, listener=show)
    with _signals_raise():
        try:
            address = server.start()
            console.print(
                f"[bold]{package.manifest.name}[/bold] at {address}: "
                f"{counted(settings.rounds, 'round')}, "
                f"{counted(settings.cohort_size, 'update')} each, "
                f"{package.manifest.parameters.parameter_count:,} parameters; store {store_dir} "
                f"({sizes(store_dir)})"
            )
            if server.enrol_address:
                console.print(
                    f"enrolment at {server.enrol_address}; invitations: fedvoice invite --store "
                    f"{store_dir}"
                )
            elif not is_loopback(settings.bind):
                console.print(
                    "[yellow]warning:[/yellow] reachable from other machines, and traffic is not "
                    "encrypted: use it in networks you trust only"
                )
            if ready_file is not None:
                _write_ready(ready_file, address, server.enrol_address)
            waiting = Waiting(console.print)
            tracking = Tracking(Callbacks(tracked), store_dir) if tracked else None
            while not server.wait_finished(_LOOK_SECS):
                waiting.look(server.coordinator.waiting_for(), time.monotonic())
                if tracking is not None:
                    tracking.look()
            if tracking is not None:
                tracking.finish()
            for line in conclusion(round_rows(store_dir), store_dir, task):
                console.print(line)
            wait_for_stop(threading.Event(), linger_secs)
        except (KeyboardInterrupt, _Terminated) as stopped:
            finished = server.running and server.coordinator.course.finished
            if not finished:
                console.print("stopped; run the same command again to resume")
            terminated = isinstance(stopped, _Terminated)
            code = EXIT_TERMINATED if terminated else EXIT_INTERRUPTED
            raise typer.Exit(0 if finished else code) from None
        finally:
            server.stop()


def check_insecure(settings: ServerConfig, *, asked: bool) -> None:
    """Raise `bad-config` if a file, not the command line, exposes a server without TLS."""
    if settings.insecure and not asked and not is_loopback(settings.bind):
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where="insecure",
            got=f"no TLS at {settings.bind}, which other machines can reach",
            wanted="TLS, or a loopback address",
            next_step="Leave `insecure` out of the file, or type --insecure if you mean it.",
        )


class Waiting:
    """Says how many phones a round that has not begun waits for: when that changes, and once a
    minute."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said: tuple[int, int] | None = None
        self._said_secs = 0.0

    def look(self, found: tuple[int, int] | None, now_secs: float) -> None:
        """found: phones seen and phones needed; None: nothing waits for phones."""
        again = found == self._said and now_secs - self._said_secs < _WAITING_SECS
        if found is not None and not again:
            seen, needed = found
            self._say(f"{seen} of {counted(needed, 'phone')} seen, waiting")
            self._said_secs = now_secs
        self._said = found


def conclusion(rows: Sequence[RoundRow], store_dir: Path, task: Path) -> list[str]:
    """What is said when all rounds are done: the model, its error rate if one was measured, and
    what can be done next."""
    from fedvoice.server.store.retention import sizes

    evaluated = [row for row in rows if row.wer is not None]
    weights = store_dir / "weights.safetensors"
    lines = [f"done: {weights}"]
    if evaluated:
        last = evaluated[-1]
        lines.append(
            f"{_rates(last)} on {counted(last.evaluation_words, 'word')} of "
            f"{counted(last.evaluation_clients, 'phone')} (round {last.round})"
        )
    else:
        lines.append("no error rate: set evaluate_every, and phones with test speech measure it")
    return [
        *lines,
        f"store: {sizes(store_dir)}",
        f"report: fedvoice report {store_dir}",
        f"next: fedvoice evaluate --task {task} --weights {weights} --manifest SPEECH.jsonl",
    ]


def default_store(task: Path) -> Path:
    """The default store, beside the task package: `runs/task-store` for `runs/task`."""
    whole = task.resolve()
    return whole.with_name(f"{whole.name}-store")


def describe(row: RoundRow, work: str) -> str:
    """One line about a round that trained or evaluated."""
    if work == "evaluate":
        return (
            f"round {row.round:>4}  {_rates(row)} on {counted(row.evaluation_clients, 'phone')}, "
            f"{counted(row.evaluation_words, 'word')}"
        )
    loss = "" if row.loss is None else f"loss {row.loss:.3f}  "
    return (
        f"round {row.round:>4}  {row.status} by {row.ending}, "
        f"{counted(row.clients, 'phone')}  {loss}down {human_bytes(row.bytes_down)}  "
        f"up {human_bytes(row.bytes_up)}  "
        f"{row.wall_secs:.1f} s  CFMQ {human_bytes(row.cfmq_total_bytes)} so far (communication "
        f"{human_bytes(row.cfmq_communication_bytes)}, memory x steps "
        f"{human_bytes(row.cfmq_compute_bytes)})"
    )


def _rates(row: RoundRow) -> str:
    """The error rates; no CER where phones count no characters."""
    if row.wer is None:
        return "no report"
    cer = "" if row.cer is None else f", CER {100 * row.cer:.1f} %"
    return f"WER {100 * row.wer:.1f} %{cer}"


def _write_ready(path: Path, *addresses: str) -> None:
    # Renamed into place: a reader never finds half an address.
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, "".join(f"{address}\n" for address in addresses if address))


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    codes = {signal.SIGTERM: EXIT_TERMINATED, signal.SIGINT: EXIT_INTERRUPTED}

    def stop(number: int, _frame: FrameType | None) -> None:
        # A second one, of either kind, ends at once: the store is whole at every moment.
        for which in before:
            signal.signal(which, lambda *_, code=codes[which]: os._exit(code))
        raise _Terminated if number == signal.SIGTERM else KeyboardInterrupt

    # One that is ignored, as Ctrl-C under nohup, stays so.
    found = {which: signal.getsignal(which) for which in codes}
    before = {which: was for which, was in found.items() if was is not signal.SIG_IGN}
    for which in before:
        signal.signal(which, stop)
    try:
        yield
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
