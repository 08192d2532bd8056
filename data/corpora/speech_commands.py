"""Speech Commands (Warden 2018, arXiv 1804.03209): single words, by speaker.

Layout: `<word>/<speaker>_nohash_<n>.wav`, `testing_list.txt`, `validation_list.txt`, and
`_background_noise_/`, which is no speech and passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from fedvoice.data.corpora.reading import (
    Dev,
    Development,
    keyed_lines,
    no_corpus,
    split_of,
    spoken,
    usable,
)
from fedvoice.protocol.usage import Reason, Usage
from fedvoice.protocol.utterance import Utterance


def speech_commands(
    root: Path,
    *,
    words: Annotated[
        Sequence[str], typer.Option(help="Comma-separated words to keep; empty: all.")
    ] = (),
    version: str = "speech_commands_v0.02",
    dev: Dev = Development.LEAVE_OUT,
    usage: Usage | None = None,
) -> list[Utterance]:
    """Speech Commands by speaker; ROOT contains SpeechCommands/speech_commands_v0.02/, or is it.

    A speaker is the hash in a file's name; the test split is the corpus's own testing list. Its
    validation list is left out unless `--dev` says otherwise.

    Example:
    fedvoice data speech-commands --root corpora --words yes,no --out manifest.jsonl

    Args:
        root: folder that contains `SpeechCommands/<version>/`, or that folder.
        words: keep only these; empty keeps all.
        usage: receives the counts of what is passed over.

    Raises:
        FedvoiceError: `not-found`, `bad-manifest`, `too-little-usable`.
    """
    usage = Usage() if usage is None else usage
    folders = (root / "SpeechCommands" / version, root / version, root)
    folder = next((f for f in folders if (f / "testing_list.txt").is_file()), None)
    if folder is None:
        layout = f"{root}/SpeechCommands/{version}/testing_list.txt"
        raise no_corpus(root, "Speech Commands", layout, "no testing_list.txt")
    parts = {
        "test": _listed(folder / "testing_list.txt"),
        "dev": _listed(folder / "validation_list.txt"),
    }
    elsewhere = {name for names in parts.values() for name in names}
    paths = [path.relative_to(folder) for path in sorted(folder.glob("[!_.]*/[!.]*.wav"), key=str)]
    parts = {"train": [str(p) for p in paths if str(p) not in elsewhere], **parts}

    def found() -> Iterator[Utterance]:
        for part, names in parts.items():
            split = split_of(part, dev)
            for name in names:
                word, _, file = name.partition("/")
                if split is None or (words and word not in words):
                    usage.leave_out(Reason.NOT_CHOSEN, str(folder / name))
                    continue
                speaker = file.partition("_nohash_")[0].removesuffix(".wav")
                audio = (folder / name).absolute()
                yield spoken(audio, word, speaker, "speech-commands", split=split)

    return usable(found(), usage)


def _listed(path: Path) -> list[str]:
    """Files that a list names, relative to its folder."""
    return [line.key for line in keyed_lines(path, "a list of files")]
