"""The registry of readers of corpora on disk, which `fedvoice data` lists.

A reader of one's own is a function `(root, **options) -> list[Utterance]`, registered by
`READERS.register(name)` or by an entry point of the group `fedvoice.readers`; its keyword options
that are annotated with a `typer.Option` become the command's. One that passes utterances over takes
a keyword `usage: Usage | None = None` and counts them there by `usage.leave_out(reason, where)`;
the command prints the counts.
"""

from __future__ import annotations

from collections.abc import Callable

from fedvoice.protocol.registry import Registry
from fedvoice.protocol.utterances import Utterance

READERS: Registry[Callable[..., list[Utterance]]] = Registry(
    "reader",
    "fedvoice.readers",
    {
        "common-voice": "fedvoice.data.corpora.common_voice:common_voice",
        "folder": "fedvoice.data.corpora.folder:folder",
        "hf": "fedvoice.data.corpora.hugging_face:hugging_face",
        "kaldi": "fedvoice.data.corpora.kaldi:kaldi",
        "librispeech": "fedvoice.data.corpora.librispeech:librispeech",
        "lhotse": "fedvoice.data.corpora.lhotse_cuts:lhotse_cuts",
        "mls": "fedvoice.data.corpora.librispeech:mls",
        "nemo": "fedvoice.data.corpora.nemo:nemo",
        "speech-commands": "fedvoice.data.corpora.speech_commands:speech_commands",
        "tedlium": "fedvoice.data.corpora.tedlium:tedlium",
        "voxforge": "fedvoice.data.corpora.voxforge:voxforge",
    },
)
