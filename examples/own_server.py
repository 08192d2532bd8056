"""Export a task, start a server in this process, and let one phone train on it over gRPC."""

import tempfile
import wave
from pathlib import Path

import numpy as np

import fedvoice

RATE, WORDS = 16_000, {"red": 300, "green": 500, "blue": 800}
TASK = {
    "name": "colours",
    "model": {"kind": "ctc", "encoder": {"layers": 1, "hidden_size": 16}},
    "vocabulary": {"tokens": sorted(WORDS)},
    "buckets": [{"frames": 10, "labels": 1, "batch": 4}],
    "plan": {"client_rate": 0.1, "batch_size": 4},
}


def record(folder: Path, word: str, number: int) -> tuple[Path, str]:
    """A word as a tone, in a wav file."""
    secs = np.arange(int(0.6 * RATE)) / RATE
    samples = (8000 * np.sin(2 * np.pi * WORDS[word] * secs)).astype("<i2")
    path = folder / f"{word}{number}.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return path, word


def main(folder: Path) -> list[str]:
    manifest = fedvoice.export_task(TASK, folder / "task", progress=print)
    print(
        f"{manifest.parameters.parameter_count} parameters, program {manifest.program_digest[:8]}"
    )
    speech = [record(folder, word, number) for word in WORDS for number in range(4)]
    settings = {"rounds": 2, "cohort_size": 1, "insecure": True}
    settings |= {"retry": {"least_secs": 0.1, "most_secs": 1.0}}
    ends: list[str] = []
    with (
        fedvoice.start_server(
            folder / "task",
            folder / "store",
            settings,
            on_round=lambda state: ends.append(f"round {state.rules.number}: {state.phase}"),
        ) as server,
        fedvoice.open_phone(folder / "phone", server.address, train=speech) as phone,
    ):
        phone.run()
        server.wait_finished(timeout_secs=60)
    print("\n".join(ends))
    return ends


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
