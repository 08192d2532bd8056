"""The registry of readers of corpora on disk, which `fedvoice data` lists.

A reader of one's own is a function `(root, **options) -> list[Utterance]`, registered by
`READERS.register(name)` or by an entry point of the group `fedvoice.readers`; its keyword options
become the command's.
"""

from __future__ import annotations

from collections.abc import Callable

from fedvoice.protocol.registry import Registry
from fedvoice.protocol.utterances import Utterance

READERS: Registry[Callable[..., list[Utterance]]] = Registry(
    "reader",
    "fedvoice.readers",
    {
        "librispeech": "fedvoice.data.loaders:librispeech",
        "speech-commands": "fedvoice.data.loaders:speech_commands",
        "folder": "fedvoice.data.loaders:folder",
    },
)
