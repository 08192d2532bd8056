"""espeak-ng as a speech synthesiser, through the library that espeakng-loader bundles."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedvoice.protocol.errors import ErrorCode, FedvoiceError, missing_extra
from fedvoice.protocol.parameters import Float32Array

_SYNCHRONOUS = 2
_CHARACTERS_UTF8 = 1
_POSITION_CHARACTER = 1
_PARAMETER_RATE, _PARAMETER_PITCH, _PARAMETER_RANGE = 1, 3, 4
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


@dataclass(frozen=True)
class Voice:
    """One synthetic speaker.

    accent: espeak-ng language, e.g. `en-gb-scotland`; variant: one of its voice variants.
    rate_wpm: words a minute; pitch and pitch_range: 0..99.
    """

    name: str
    accent: str
    variant: str
    rate_wpm: int
    pitch: int
    pitch_range: int


class Espeak:
    """The synthesiser. Its state is global to the process: use one, from one thread.

    The waveform depends slightly on what was synthesised before in the same process (phases are
    kept), so a corpus is reproducible by its seed only if a fresh process makes it.
    """

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise missing_extra(
                "fleet",
                where="synthetic corpus",
                got="no espeakng-loader package",
                wanted="espeak-ng's library and voices",
            ) from error
        self._library: Any = ctypes.CDLL(espeakng_loader.get_library_path())
        data = str(espeakng_loader.get_data_path()).encode()
        self.sample_rate: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, 0)
        if self.sample_rate <= 0:
            raise FedvoiceError(
                ErrorCode.NOT_FOUND,
                where="espeak-ng",
                got=f"initialisation failed ({self.sample_rate})",
                wanted=f"voices in {data.decode()}",
                next_step="Reinstall espeakng-loader.",
            )
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        self._chunks: list[Float32Array] = []
        # ctypes keeps no reference of its own: the callback must live as long as the library.
        self._callback = _CALLBACK(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            chunk = np.ctypeslib.as_array(samples, shape=(count,)).astype(np.float32)
            self._chunks.append(chunk / 32768.0)
        return 0

    def speak(self, voice: Voice, text: str) -> Float32Array:
        """`text` spoken: float32 [samples] in +-1 at `self.sample_rate`.

        Raises:
            FedvoiceError: `not-found` if espeak-ng lacks the voice.
        """
        name = f"{voice.accent}+{voice.variant}"
        if self._library.espeak_SetVoiceByName(name.encode()) != 0:
            raise FedvoiceError(
                ErrorCode.NOT_FOUND,
                where=f"voice {voice.name}",
                got=f"espeak-ng has no voice {name}",
                wanted="an accent and a variant that it bundles",
                next_step="Choose another accent or variant.",
            )
        for parameter, value in (
            (_PARAMETER_RATE, voice.rate_wpm),
            (_PARAMETER_PITCH, voice.pitch),
            (_PARAMETER_RANGE, voice.pitch_range),
        ):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._chunks.clear()
        data = text.encode() + b"\0"
        self._library.espeak_Synth(
            data, len(data), 0, _POSITION_CHARACTER, 0, _CHARACTERS_UTF8, None, None
        )
        if not self._chunks:
            return np.zeros(0, dtype=np.float32)
        return np.concatenate(self._chunks)
