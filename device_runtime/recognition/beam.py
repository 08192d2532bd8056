"""Beam search frame by frame: a transducer's and CTC's, with a language model if there is one.

Hypotheses that come to the same tokens are merged, their probabilities added. Scores are natural
logs: log P + lm_weight * log P_lm + insertion_bonus * tokens (shallow fusion, Gulcehre et al. 2015,
arXiv 1503.03535).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fedvoice.device_runtime.recognition.language import LanguageModel, NoLanguageModel
from fedvoice.device_runtime.recognition.search import (
    Float64Array,
    Hypothesis,
    Settings,
    Transducer,
    largest,
    log_softmax,
)
from fedvoice.protocol.parameters import Float32Array
from fedvoice.protocol.vocabulary import BLANK


class _Fusion:
    """What a token costs beside the acoustic model."""

    def __init__(self, settings: Settings, lm: LanguageModel | None) -> None:
        self.beam, self.lm = settings.beam, lm or NoLanguageModel()
        self.weight, self.bonus = settings.lm_weight, settings.insertion_bonus

    def added(self, state: Any) -> Float64Array | float:
        """To the log probabilities [V] of a next token."""
        log_p = self.lm.log_probs(state)
        return self.bonus if log_p is None else self.weight * log_p + self.bonus

    def ended(self, best: Hypothesis, state: Any) -> Hypothesis:
        """With the end of the sentence."""
        log_p = self.lm.log_probs(state)
        if log_p is None:
            return best
        return best._replace(score=best.score + self.weight * float(log_p[BLANK]))


@dataclass(frozen=True)
class Path:
    """A hypothesis of a transducer: prediction [J] and state [S'] after its tokens, and the
    language model's state."""

    best: Hypothesis
    prediction: Float32Array
    state: Float32Array
    lm: Any


@dataclass(frozen=True)
class TransducerBeam:
    """Paths, best first, after `frames` frames."""

    paths: tuple[Path, ...]
    frames: int


class BeamTransducer:
    """Time-synchronous search (Graves 2012): in each frame paths take tokens, at most `symbols`,
    and then the blank. After each token only the `beam` best of those with and without the blank
    stay, so that a beam of 1 without a language model is greedy decoding."""

    def __init__(
        self,
        model: Transducer,
        symbols: int,
        settings: Settings,
        lm: LanguageModel | None = None,
    ) -> None:
        self._model, self._symbols = model, symbols
        self._fusion = _Fusion(settings, lm)

    def start(self) -> TransducerBeam:
        """See `Search`."""
        zeros = np.zeros((1, self._model.state_size), np.float32)
        prediction, state = self._model.predict([BLANK], zeros)
        empty = Hypothesis((), (), 0.0)
        path = Path(empty, prediction[0], state[0], self._fusion.lm.start())
        return TransducerBeam((path,), 0)

    def advance(self, state: TransducerBeam, outputs: Float32Array) -> TransducerBeam:
        """See `Search`."""
        paths, at = state.paths, state.frames
        for output in outputs:
            paths = self._frame(paths, output, at)
            at += 1
        return TransducerBeam(paths, at)

    def best(self, state: TransducerBeam, *, ended: bool = False) -> Hypothesis:
        """See `Search`."""
        if not ended:
            return state.paths[0].best
        found = [self._fusion.ended(path.best, path.lm) for path in state.paths]
        return max(found, key=lambda hypothesis: hypothesis.score)

    def _frame(self, paths: tuple[Path, ...], output: Float32Array, at: int) -> tuple[Path, ...]:
        beam = self._fusion.beam
        active, done = paths, dict[tuple[int, ...], Path]()
        for symbols in range(self._symbols + 1):
            if not active:
                break
            predictions = np.stack([path.prediction for path in active])
            log_p = log_softmax(self._model.join(output, predictions))
            longer: list[tuple[float, Path, int]] = []  # score, what it continues, its token
            for path, row in zip(active, log_p, strict=True):
                blank = path.best.score + float(row[BLANK])
                _merge(done, replace(path, best=path.best._replace(score=blank)))
                if symbols < self._symbols:
                    scores = path.best.score + row + self._fusion.added(path.lm)
                    scores[BLANK] = -np.inf
                    places = largest(scores, beam)
                    longer += [(float(scores[k]), path, k) for k in places if k != BLANK]
            ended = list(done.values())
            all_scores = [path.best.score for path in ended] + [score for score, _, _ in longer]
            kept = largest(np.array(all_scores), beam)
            done = {ended[i].best.tokens: ended[i] for i in kept if i < len(ended)}
            chosen = [longer[i - len(ended)] for i in kept if i >= len(ended)]
            active = self._extended(chosen, at)
        return tuple(sorted(done.values(), key=lambda path: -path.best.score))

    def _extended(self, chosen: list[tuple[float, Path, int]], at: int) -> tuple[Path, ...]:
        if not chosen:
            return ()
        states = np.stack([path.state for _, path, _ in chosen])
        predictions, after = self._model.predict([token for _, _, token in chosen], states)
        return tuple(
            Path(
                Hypothesis((*path.best.tokens, token), (*path.best.times, at), score),
                predictions[i],
                after[i],
                self._fusion.lm.advance(path.lm, token),
            )
            for i, (score, path, token) in enumerate(chosen)
        )


def _merge(found: dict[tuple[int, ...], Path], path: Path) -> None:
    """Add a path; one of the same tokens is the same text by another alignment."""
    other = found.get(path.best.tokens)
    if other is not None:
        path = replace(path, best=_sum(other.best, path.best))
    found[path.best.tokens] = path


def _sum(a: Hypothesis, b: Hypothesis) -> Hypothesis:
    """One of both probabilities, with the times of the better one."""
    better = a if a.score >= b.score else b
    return better._replace(score=float(np.logaddexp(a.score, b.score)))


@dataclass(frozen=True)
class Prefix:
    """A hypothesis of CTC: whether its last frame gave the blank, and the language model's
    state."""

    best: Hypothesis
    blank: bool
    lm: Any


@dataclass(frozen=True)
class CtcBeam:
    """Prefixes, best first, after `frames` frames."""

    prefixes: tuple[Prefix, ...]
    frames: int


class BeamCtc:
    """Prefix search (Graves 2006; Hannun et al. 2014, arXiv 1408.2873). A prefix that ends with
    the blank and one that does not are two hypotheses of the beam, so that a beam of 1 without a
    language model is greedy decoding."""

    def __init__(self, settings: Settings, lm: LanguageModel | None = None) -> None:
        self._fusion = _Fusion(settings, lm)

    def start(self) -> CtcBeam:
        """See `Search`."""
        return CtcBeam((Prefix(Hypothesis((), (), 0.0), True, self._fusion.lm.start()),), 0)

    def advance(self, state: CtcBeam, outputs: Float32Array) -> CtcBeam:
        """See `Search`."""
        prefixes = state.prefixes
        for at, row in enumerate(log_softmax(outputs), state.frames):
            prefixes = self._frame(prefixes, row, at)
        return CtcBeam(prefixes, state.frames + len(outputs))

    def best(self, state: CtcBeam, *, ended: bool = False) -> Hypothesis:
        """See `Search`."""
        found: dict[tuple[int, ...], Hypothesis] = {}
        for prefix in state.prefixes:
            own = self._fusion.ended(prefix.best, prefix.lm) if ended else prefix.best
            other = found.get(own.tokens)
            found[own.tokens] = own if other is None else _sum(other, own)
        return max(found.values(), key=lambda hypothesis: hypothesis.score)

    def _frame(
        self, prefixes: tuple[Prefix, ...], row: Float64Array, at: int
    ) -> tuple[Prefix, ...]:
        found: dict[tuple[tuple[int, ...], bool], Prefix] = {}

        def add(prefix: Prefix) -> None:
            key = (prefix.best.tokens, prefix.blank)
            if key in found:
                prefix = replace(prefix, best=_sum(found[key].best, prefix.best))
            found[key] = prefix

        for prefix in prefixes:
            best, repeated = prefix.best, BLANK if prefix.blank else prefix.best.tokens[-1]
            add(Prefix(best._replace(score=best.score + float(row[BLANK])), True, prefix.lm))
            if repeated:
                again = best._replace(score=best.score + float(row[repeated]))
                add(Prefix(again, False, prefix.lm))
            scores = best.score + row + self._fusion.added(prefix.lm)
            scores[[BLANK, repeated]] = -np.inf
            for token in largest(scores, self._fusion.beam):
                if token not in (BLANK, repeated):
                    longer = Hypothesis(
                        (*best.tokens, token), (*best.times, at), float(scores[token])
                    )
                    add(Prefix(longer, False, self._fusion.lm.advance(prefix.lm, token)))
        ranked = list(found.values())
        scores = np.array([prefix.best.score for prefix in ranked])
        return tuple(ranked[i] for i in largest(scores, self._fusion.beam))
