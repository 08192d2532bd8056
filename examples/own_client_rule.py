"""How a client steps: one's own rule, written once for the fast engine and for phones."""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from own_module import Spotter, examples
from own_server import TASK, WORDS, record

import fedvoice


class Lion:
    """w <- w - rate sign(b1 m + (1 - b1) g), m <- b2 m + (1 - b2) g (Chen et al. 2023), on arrays
    float32 [..., P]: the fast engine adds an axis of clients, a phone has none."""

    def __init__(self, rate: float = 0.01, b1: float = 0.9, b2: float = 0.99) -> None:
        self.rate, self.b1, self.b2 = (np.float32(value) for value in (rate, b1, b2))

    def init(self, weights: np.ndarray) -> Mapping[str, np.ndarray]:
        return {"momentum": np.zeros_like(weights)}

    def step(
        self, weights: np.ndarray, gradient: np.ndarray, state: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        momentum, one = state["momentum"], np.float32(1)
        mixed = self.b1 * momentum + (one - self.b1) * gradient
        kept = self.b2 * momentum + (one - self.b2) * gradient
        return weights - self.rate * np.sign(mixed), {"momentum": kept}


def simulated() -> float:
    """The error rate of many clients on the fast engine, percent."""
    run = fedvoice.simulate(
        fedvoice.MappingDataset(
            {f"client{i:02d}": examples(12) for i in range(16)}, test={"all": examples(80)}
        ),
        Spotter,
        rounds=20,
        cohort_size=8,
        plan={"batch_size": 6},
        client_rule={"name": Lion, "rate": 0.02},
        task={"features": {"stack": 4}},
    )
    print(f"fast engine: {run.rates['wer']:.1f} % wrong")
    return run.rates["wer"]


def on_a_phone(folder: Path) -> list[str]:
    """One round of a phone that names the rule at check-in, and of one that does not."""
    rule = "own_client_rule:Lion"
    fedvoice.export_task(TASK, folder / "task")
    speech = [record(folder, word, number) for word in WORDS for number in range(4)]
    plan = {"batch_size": 4, "client_rule": rule, "client_rule_options": {"rate": 0.005}}
    settings = {"rounds": 1, "cohort_size": 1, "insecure": True, "plan": plan}
    happened = []
    with fedvoice.start_server(folder / "task", folder / "store", settings) as server:
        for name, rules in (("without", []), ("with", [rule])):
            phone = fedvoice.open_phone(
                folder / name, server.address, train=speech, client_rules=rules
            )
            with phone as opened:
                happened.append(f"{name} the rule: {opened.run_once().happened}")
    print("\n".join(happened))
    return happened


if __name__ == "__main__":
    sys.modules["own_client_rule"] = sys.modules["__main__"]  # this script, by its module's name
    simulated()
    with tempfile.TemporaryDirectory() as name:
        on_a_phone(Path(name))
