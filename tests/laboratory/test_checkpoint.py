"""A run's state on disk: what 0.1.0 wrote goes on being read, and what is written comes back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fedvoice.protocol.cost import Cfmq
from fedvoice.protocol.scoring import ErrorCounts
from fedvoice.simulation.checkpoint import STATE_FILE, load_state, save_state


def test_a_state_in_the_layout_of_0_1_0_is_read_and_written_again(tmp_path: Path) -> None:
    weights, momentum = np.arange(4, dtype=np.float32), np.ones(4, dtype=np.float32)
    rest = {
        "number": 3,
        "rows": [],
        "evaluations": {"0": {"wer": [1, 4]}, "2": {"wer": [1, 4, 3, 17]}},
        "cost": {"communication_bytes": 10.0, "computation_bytes": 20.0, "alpha": 0.5},
        "analytic": {"communication_bytes": 9.0, "computation_bytes": 19.0, "alpha": 0.5},
    }
    arrays = {"weights": weights, "slot.momentum": momentum, "rest": np.array(json.dumps(rest))}
    np.savez(tmp_path / STATE_FILE, **arrays)  # type: ignore[arg-type]
    state = load_state(tmp_path)
    assert state is not None
    assert (state.number, state.refused) == (3, {})
    assert state.evaluations[0]["wer"] == ErrorCounts(1, 4)
    assert state.evaluations[2]["wer"] == ErrorCounts(1, 4, 3, 17)  # a later version's
    assert state.cost == Cfmq(10.0, 20.0, 0.5)
    assert state.analytic == Cfmq(9.0, 19.0, 0.5)
    assert state.optimizer.slots["momentum"].tobytes() == momentum.tobytes()
    save_state(tmp_path, state)
    with np.load(tmp_path / STATE_FILE) as stored:
        assert set(stored.files) == set(arrays)
        assert json.loads(str(stored["rest"])) == {
            **rest,
            "refused": {},
            "norms": {"norms": [], "abandoned": 0},
        }
