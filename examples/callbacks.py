"""Be told of every round: keep a curve, and stop once the model is good enough."""

from own_module import Spotter, examples

import fedvoice


class StopAt(fedvoice.Callback):
    """Ends a run once its error rate is low enough."""

    def __init__(self, percent: float) -> None:
        self.percent, self.curve = percent, list[tuple[float, float]]()

    def round_ended(self, end: fedvoice.RoundEnd) -> bool:
        if "wer" not in end.rates:
            return False  # this round was not evaluated
        row = end.result
        cost = row.cfmq_communication_bytes + row.cfmq_compute_bytes
        self.curve.append((cost, end.rates["wer"]))
        return end.rates["wer"] <= self.percent


def main() -> StopAt:
    stop = StopAt(percent=5.0)
    run = fedvoice.simulate(
        fedvoice.MappingDataset(
            {f"client{i:02d}": examples(12) for i in range(16)}, test={"all": examples(80)}
        ),
        Spotter,
        rounds=100,
        cohort_size=8,
        plan={"client_rate": 0.1, "batch_size": 6, "clip_norm": 1.0},
        algorithm={"evaluate_every": 2},
        task={"features": {"stack": 4}},
        callbacks=[stop, "log"],
    )
    for cost, rate in stop.curve:
        print(f"{cost / 1e6:6.1f} MB of CFMQ: {rate:5.1f} %")
    print(f"stopped after {len(run.results.rounds)} of 100 rounds")
    return stop


if __name__ == "__main__":
    main()
