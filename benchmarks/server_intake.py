"""How many updates a second the server takes in, beside three references: loopback, real processes.

    python -m benchmarks.server_intake --clients 50 --mb 10 [--tls] [--durability none] --json

All N clients take part in every round: weights down, an update up, each as many megabytes. Runs of
the four servers take turns, the first round of each is not counted, and medians are shown. CPU is
the server process's own, user and system, for each update. The references are explained in
`intake_references.py`; clients share the machine with the server, so ratios count, not rates. The
last line is JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.intake_clients import Crowd, client_name, crowd_running
from benchmarks.serving import Served, an_update, running, serving
from fedvoice.algorithm.aggregation import Accumulator, Inspection
from fedvoice.server.security.authority import Authority, make_authority
from fedvoice.server.security.credentials import Credentials
from fedvoice.server.store.database import open_existing, open_read_only

REFERENCES = ("bare", "working", "durable")
PRODUCT = "fedvoice"
_SETTINGS = "[retry]\nleast_secs = 0.05\nmost_secs = 1\nmost_calls_per_sec = 10000\n"
_TRIES = 21


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--mb", type=float, default=10.0)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--durability", choices=("durable", "none"), default="durable")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2, help="counted; one more warms up")
    parser.add_argument("--chunk-kb", type=int, default=512, help="that clients send")
    parser.add_argument("--processes", type=int, default=2, help="that the clients are spread over")
    parser.add_argument("--only", help=f"some of {', '.join((*REFERENCES, PRODUCT))}")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else (*REFERENCES, PRODUCT)
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for number in range(options.runs):
        for name in names:
            with tempfile.TemporaryDirectory() as directory:
                runs[name].append(measure(name, Path(directory), options))
            if not options.json:
                print(number, name, runs[name][-1], file=sys.stderr, flush=True)
    print(json.dumps(summary(runs, options)))


@dataclass(frozen=True)
class Run:
    """One run of one server. wire_ratio: bytes in its books over bytes of the clients' messages;
    references keep no books."""

    updates_per_sec: float
    cpu_ms: float
    peak_bytes: int
    wire_ratio: float = 1.0


def summary(runs: dict[str, list[Run]], options: argparse.Namespace) -> dict[str, object]:
    """Medians; ratios of medians."""

    def median(name: str, field: str) -> float | None:
        values = [getattr(run, field) for run in runs.get(name, [])]
        return statistics.median(values) if values else None

    def rounded(name: str, field: str, digits: int = 1) -> float | None:
        value = median(name, field)
        return None if value is None else round(value, digits)

    def ratio(other: str, field: str) -> float | None:
        own, its = median(PRODUCT, field), median(other, field)
        return round(own / its, 3) if own and its else None

    peak = median(PRODUCT, "peak_bytes")
    return {
        "clients": options.clients,
        "updates": options.clients * (options.rounds + 1),
        "tls": options.tls,
        "durability": options.durability,
        "updates_per_sec": rounded(PRODUCT, "updates_per_sec"),
        **{f"{name}_updates_per_sec": rounded(name, "updates_per_sec") for name in REFERENCES},
        "ratio_to_working": ratio("working", "updates_per_sec"),
        "ratio_to_durable": ratio("durable", "updates_per_sec"),
        "server_cpu_ms_per_update": rounded(PRODUCT, "cpu_ms"),
        **{f"{name}_cpu_ms_per_update": rounded(name, "cpu_ms") for name in REFERENCES},
        "cpu_ratio_to_working": ratio("working", "cpu_ms"),
        "hash_check_fold_ms": round(hash_check_fold_ms(model_floats(options)), 2),
        "server_peak_bytes": None if peak is None else int(peak),
        "working_peak_bytes": rounded("working", "peak_bytes", 0),
        "model_bytes": 4 * model_floats(options),
        "wire_ratio": rounded(PRODUCT, "wire_ratio", 4),
    }


def model_floats(options: argparse.Namespace) -> int:
    """P."""
    return int(options.mb * 1e6 / 4) // 4 * 4


def measure(name: str, directory: Path, options: argparse.Namespace) -> Run:
    """One run of one server."""
    store = directory / "store"
    with started(name, directory, options) as server:
        keys = None
        if options.tls:
            keys = directory / "keys"
            make_keys(store, keys, options.clients, listed=name == PRODUCT)
        crowd = Crowd(
            address=server.address,
            clients=options.clients,
            processes=options.processes,
            size=model_floats(options),
            chunk_bytes=options.chunk_kb * 1024,
            keys=keys,
        )
        with crowd_running(crowd) as rounds:
            rounds.run()
            start, cpu = time.perf_counter(), server.cpu_secs
            for _ in range(options.rounds):
                rounds.run()
            secs, cpu = time.perf_counter() - start, server.cpu_secs - cpu
            moved, peak = rounds.moved_bytes(), server.peak_bytes
    updates = options.clients * options.rounds
    booked = booked_bytes(store) if name == PRODUCT else moved
    return Run(updates / secs, 1e3 * cpu / updates, peak, booked / moved)


@contextmanager
def started(name: str, directory: Path, options: argparse.Namespace) -> Iterator[Served]:
    """The server, in a folder of its own."""
    size = model_floats(options)
    if name == PRODUCT:
        settings = f'durability = "{options.durability}"\n'
        settings += f"quota_bytes = {16 * size * (options.clients + 2)}\n"
        rounds = options.rounds + 1
        with serving(
            directory,
            size,
            settings + _SETTINGS,
            updates=options.clients,
            rounds=rounds,
            tls=options.tls,
        ) as server:
            yield server
        return
    (directory / "model").write_bytes(bytes(4 * size))
    command: list[object] = [sys.executable, "-m", "benchmarks.intake_references", name]
    command += ["--model", directory / "model", "--ready-file", directory / "ready"]
    if options.tls:
        (directory / "store").mkdir()
        make_authority(directory / "store")
        command += ["--authority", directory / "store"]
    with running(command, directory / "ready") as server:
        yield server


def make_keys(store_dir: Path, keys: Path, clients: int, *, listed: bool) -> None:
    """Certificates for all clients, of the authority in `store_dir`; `listed`: in its store."""
    keys.mkdir()
    authority, key = Authority(store_dir), ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    (keys / "authority.pem").write_bytes(authority.pem)
    (keys / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    store = open_existing(store_dir) if listed else None
    for index in range(clients):
        name = client_name(index)
        issued = authority.issue(key.public_key(), name)
        certificate = x509.load_der_x509_certificate(issued.certificate)
        (keys / f"{name}.pem").write_bytes(certificate.public_bytes(pem))
        if store is not None:
            Credentials(store).add(name, "benchmark", issued)
    if store is not None:
        store.close()


def booked_bytes(store_dir: Path) -> int:
    """Bytes in the server's books, both ways."""
    store = open_read_only(store_dir)
    try:
        return sum(row.bytes_down + row.bytes_up for row in store.traffic_totals())
    finally:
        store.close()


def hash_check_fold_ms(size: int) -> float:
    """What the arithmetic on one update takes of the processor, from memory: median."""
    update = np.frombuffer(an_update(size), "<f4")
    total, spent = Accumulator(size, grid_bits=32, max_abs=16.0), []
    step = 128 * 1024
    for _ in range(_TRIES):
        begun, at = time.process_time(), 0
        digest, look = hashlib.sha256(), Inspection(16.0)
        for first in range(0, size, step):
            piece = update[first : first + step]
            digest.update(piece)
            look.take(piece)
            at = total.add(piece, 10, at)
        digest.hexdigest()
        spent.append(1e3 * (time.process_time() - begun))
    return statistics.median(spent)


if __name__ == "__main__":
    main()
