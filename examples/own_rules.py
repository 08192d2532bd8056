"""One's own server optimiser, and one's own weighting as a link of the aggregation chain."""

from collections.abc import Mapping

import numpy as np
from own_module import Spotter, examples

import fedvoice


class SignSgd:
    """w <- w + rate sign(delta): a server optimiser on flat vectors, float32 [P]."""

    def init(
        self, config: fedvoice.OptimizerConfig, table: fedvoice.ParameterTable
    ) -> fedvoice.OptimizerState:
        return fedvoice.OptimizerState()

    def apply(
        self,
        config: fedvoice.OptimizerConfig,
        state: fedvoice.OptimizerState,
        weights: np.ndarray,
        delta: np.ndarray,
        *,
        rate: float,
        table: fedvoice.ParameterTable,
    ) -> tuple[np.ndarray, fedvoice.OptimizerState]:
        return weights + np.float32(rate) * np.sign(delta), state


class BySteps:
    """Clients weigh the steps that they took, not their examples."""

    contract = fedvoice.Contract(sees=frozenset({fedvoice.Sees.STEPS}))

    def __call__(self, seen: fedvoice.Seen) -> fedvoice.Verdict:
        return fedvoice.Verdict(weight=seen.steps)


def main() -> Mapping[str, float]:
    corpus = fedvoice.MappingDataset(
        {f"client{i:02d}": examples(6 + i) for i in range(16)}, test={"all": examples(80)}
    )
    rates = {}
    for name, optimizer, links in (
        ("averaging", {"name": "sgd", "rate": 1.0, "momentum": 0.0}, []),
        ("signs", {"name": SignSgd, "rate": 0.02}, [BySteps, {"name": "clip", "norm": 1.0}]),
        ("median", {"name": "adam", "rate": 0.03}, ["median"]),
    ):
        run = fedvoice.simulate(
            corpus,
            Spotter,
            rounds=20,
            cohort_size=8,
            plan={"client_rate": 0.1, "batch_size": 6, "clip_norm": 1.0},
            optimizer=optimizer,
            links=links,
            task={"features": {"stack": 4}},
        )
        rates[name] = run.rates["wer"]
        print(f"{name}: {rates[name]:.1f} % wrong")
    return rates


if __name__ == "__main__":
    main()
