"""Simulate a fleet on one's own corpus: any mapping from client to (waveform, text) pairs."""

import numpy as np

import fedvoice

RATE, WORDS = 16_000, {"red": (300, 500), "green": (500, 300), "blue": (400, 800)}
random = np.random.default_rng(0)


def say(word: str, pitch: float) -> np.ndarray:
    """A word as two tones, 0.3 s each, in the voice of one client."""
    secs = np.arange(int(0.3 * RATE)) / RATE
    tones = [np.sin(2 * np.pi * pitch * hertz * secs) for hertz in WORDS[word]]
    return np.concatenate(tones) * 0.3 + random.normal(0, 0.02, 2 * len(secs))


def utterances(pitch: float, count: int) -> list[tuple[np.ndarray, str]]:
    return [(say(word, pitch), word) for word in random.choice(list(WORDS), count)]


def main() -> fedvoice.Simulation:
    pitches = {f"client{i:02d}": random.uniform(0.8, 1.25) for i in range(20)}
    corpus = fedvoice.MappingDataset(
        train={client: utterances(pitch, 10) for client, pitch in pitches.items()},
        held_out={"others": utterances(1.0, 30)},
    )
    run = fedvoice.simulate(
        corpus,
        {"kind": "ctc", "encoder": {"layers": 1, "hidden_size": 32, "bidirectional": True}},
        rounds=40,
        cohort_size=8,
        plan={"client_rate": 0.3, "batch_size": 5},
        optimizer={"name": "sgd", "rate": 1.0, "momentum": 0.5},
        algorithm={"evaluate_every": 10},
        callbacks=["log"],
    )
    print(f"held-out WER {run.rates['heldout_wer']:.1f} %, CFMQ {run.cfmq_bytes / 1e6:.0f} MB")
    return run


if __name__ == "__main__":
    main()
