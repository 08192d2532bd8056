"""The first readers under the names that they had: `data.corpora` has them all."""

from fedvoice.data.corpora.folder import folder
from fedvoice.data.corpora.librispeech import librispeech
from fedvoice.data.corpora.speech_commands import speech_commands

__all__ = ["folder", "librispeech", "speech_commands"]
