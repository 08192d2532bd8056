"""Greedy decoding frame by frame: the tokens of a program's `decode_<bucket>`, as they come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedvoice.device_runtime.recognition.search import Hypothesis, Transducer, log_softmax
from fedvoice.protocol.parameters import Float32Array
from fedvoice.protocol.vocabulary import BLANK


@dataclass(frozen=True)
class TransducerState:
    """frames: decoded so far. prediction [1, J] and state [1, S'] after the last token."""

    best: Hypothesis
    frames: int
    prediction: Float32Array
    state: Float32Array


class GreedyTransducer:
    """The likeliest token of a frame until it is the blank, at most `symbols` a frame."""

    def __init__(self, model: Transducer, symbols: int) -> None:
        self._model, self._symbols = model, symbols

    def start(self) -> TransducerState:
        """See `Search`."""
        zeros = np.zeros((1, self._model.state_size), np.float32)
        prediction, state = self._model.predict([BLANK], zeros)
        return TransducerState(Hypothesis((), (), 0.0), 0, prediction, state)

    def advance(self, state: TransducerState, outputs: Float32Array) -> TransducerState:
        """See `Search`."""
        (tokens, times, score), at = state.best, state.frames
        prediction, memory = state.prediction, state.state
        for output in outputs:
            for _ in range(self._symbols):
                log_p = log_softmax(self._model.join(output, prediction)[0])
                token = int(log_p.argmax())
                score += float(log_p[token])
                if token == BLANK:
                    break
                tokens, times = (*tokens, token), (*times, at)
                prediction, memory = self._model.predict([token], memory)
            at += 1
        return TransducerState(Hypothesis(tokens, times, score), at, prediction, memory)

    def best(self, state: TransducerState, *, ended: bool = False) -> Hypothesis:
        """See `Search`."""
        return state.best


@dataclass(frozen=True)
class CtcState:
    """last: the label of the frame before, the blank at the start."""

    best: Hypothesis
    frames: int
    last: int


class GreedyCtc:
    """The best path, repeats and blanks removed."""

    def start(self) -> CtcState:
        """See `Search`."""
        return CtcState(Hypothesis((), (), 0.0), 0, BLANK)

    def advance(self, state: CtcState, outputs: Float32Array) -> CtcState:
        """See `Search`."""
        (tokens, times, score), last = state.best, state.last
        log_p = log_softmax(outputs)
        for at, label in enumerate(log_p.argmax(-1).tolist(), state.frames):
            score += float(log_p[at - state.frames, label])
            if label not in (BLANK, last):
                tokens, times = (*tokens, label), (*times, at)
            last = label
        return CtcState(Hypothesis(tokens, times, score), state.frames + len(outputs), last)

    def best(self, state: CtcState, *, ended: bool = False) -> Hypothesis:
        """See `Search`."""
        return state.best
