"""A run's folder with everything that a report can show."""

from __future__ import annotations

from pathlib import Path

from fedvoice.reporting.results import KindResult, Results
from fedvoice.reporting.words import Transcript, write_transcripts
from tests.rounds import a_round

LONG = "a-setting-" * 20


def a_run(folder: Path, rounds: int = 30) -> Results:
    """Results as a simulation writes them; its transcripts are written into `folder`."""
    rows = [
        a_round(
            number,
            loss=None if number == 7 else 6.0 / number,  # 7: abandoned
            wer=100.0 / number if number % 3 == 0 else None,
            heldout_wer=120.0 / number if number % 3 == 0 else None,
            examples=0 if number == 7 else 200,
            end="abandoned, timeout" if number == 7 else "committed, goal",
        )
        for number in range(1, rounds + 1)
    ]
    used = {
        "used": 960,
        "left_out": {"too-short": 3, "unknown-token": 12},
        "first_left_out": {
            "too-short": "corpus/anna/" + "sub/" * 20 + "0001.wav",
            "unknown-token": "corpus/ben/<7>.wav",
        },
    }
    results = Results(
        rows,
        {
            "wer": 3.3,
            "heldout_wer": 4.0,
            "initial_wer": 100.0,
            "initial_heldout_wer": 104.0,
            "complete": True,
            "usage": {
                "train": used,
                "tests": {"wer": {"used": 240}, "heldout_wer": {"used": 60}},
                "warnings": ["the word 'seven' is in the test speech alone"],
            },
            "partition": {
                "clients": 48, "examples": 960, "smallest": 12, "median": 20.0, "largest": 41,
                "empty": 1, "label_skew": 0.23, "random_skew": 0.21,
            },
        },
        {"name": "words <of> many", "alpha": 1.0, "manifest": LONG},
        [
            KindResult(kind, [f"{kind}-{n}" for n in range(24)], 150, 3000, 450, 60.0, 10**8, 10**8,
                       3.0, 4.0)
            for kind in ("python", "android")
        ],
    )  # fmt: skip
    write_transcripts(folder, transcripts())
    return results


def transcripts() -> list[Transcript]:
    """Sixty utterances of twelve speakers, most of them right."""
    found = [
        Transcript(
            "wer" if n % 12 < 9 else "heldout_wer",
            f"speaker {n % 12}",
            "turn the light on in the kitchen",
            "turn the light on in the kitchen" if n % 3 else "turn light on the in the <kitten>",
        )
        for n in range(58)
    ]
    return [
        *found,
        Transcript("wer", "Łukasz", "ile kosztuje chleb", ""),
        Transcript("wer", "ولد", "افتح الباب", "افتح باب"),
    ]
