"""Law 3: the server's memory is O(model), not O(cohort). Measured on a real server process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from fedvoice.algorithm.aggregation import CHUNK_ELEMENTS, Accumulator

ROOT = Path(__file__).resolve().parents[2]
MODEL_MEGABYTES = 4


def peak_bytes(clients: int) -> int:
    command = [sys.executable, "-m", "benchmarks.server_intake", "--clients", str(clients)]
    command += ["--mb", str(MODEL_MEGABYTES), "--processes", "1", "--rounds", "1", "--runs", "1"]
    command += ["--only", "fedvoice", "--json"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    facts = json.loads(result.stdout.splitlines()[-1])
    assert facts["updates"] == 2 * clients
    return int(facts["server_peak_bytes"])


def test_law_3_memory_is_o_model():
    # 20 more clients, each with 4 MB down and 4 MB up at the same time: holding their updates
    # would take 80 MB. What may grow is a handful of flow-control windows.
    few, many = peak_bytes(4), peak_bytes(24)
    assert many - few < 4 * MODEL_MEGABYTES * 1_000_000


def test_law_3_the_accumulator_is_eight_bytes_a_parameter():
    size = CHUNK_ELEMENTS * 3
    accumulator = Accumulator(size, grid_bits=32)
    for _ in range(5):
        accumulator.fold((np.ones(CHUNK_ELEMENTS, np.float32) for _ in range(3)), 1)
    assert accumulator._sum.nbytes == 8 * size
