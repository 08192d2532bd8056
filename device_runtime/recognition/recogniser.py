"""A recogniser that hears speech piece by piece.

Samples become blocks of the program's chunk (`framing`), features, normalised features
(`normalising`), outputs of the encoder, whose state goes from chunk to chunk, and tokens
(`greedy`, `beam`). What comes out depends on the samples alone, not on the pieces they came in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fedvoice.device_runtime.recognition.beam import BeamCtc, BeamTransducer
from fedvoice.device_runtime.recognition.endpoints import DEFAULT_RULES, EndpointRule, ending_rule
from fedvoice.device_runtime.recognition.framing import cut_blocks
from fedvoice.device_runtime.recognition.greedy import GreedyCtc, GreedyTransducer
from fedvoice.device_runtime.recognition.language import LanguageModel
from fedvoice.device_runtime.recognition.normalising import (
    Statistics,
    heard,
    no_statistics,
    normalised,
)
from fedvoice.device_runtime.recognition.search import GREEDY, Hypothesis, Search, Settings
from fedvoice.protocol.engine import StreamingEngine
from fedvoice.protocol.parameters import FlatVector, Float32Array
from fedvoice.protocol.task import Streaming, check_streams, check_takes_audio


@dataclass(frozen=True)
class Normalisation:
    """How long the first frames of a stream wait for the first statistics, and how much speech
    they are of; docs/recognition.md says what each costs."""

    warmup_secs: float = 1.0
    memory_secs: float = 5.0


@dataclass(frozen=True)
class Result:
    """What was recognised so far of an utterance, or all of it.

    Attributes:
        text: of the task's tokens. token_secs: when each was recognised, in seconds of the stream.
        begin_secs, end_secs: of the stream that this is of.
        final: the utterance has ended; the next result is of another one.
        rule: by which it ended; None at the end of the sound.
    """

    text: str
    tokens: tuple[int, ...]
    token_secs: tuple[float, ...]
    score: float
    begin_secs: float
    end_secs: float
    final: bool
    rule: EndpointRule | None = None


@dataclass(frozen=True)
class _Heard:
    """State of a stream.

    pending: samples that make no block yet. waiting: blocks of features before the warm-up is
    over. begin: encoder frame at which the utterance began. frames: of it, decoded. search: the
    decoder's state, None before the first frame.
    """

    pending: Float32Array
    waiting: tuple[Float32Array, ...]
    statistics: Statistics
    encoder: Float32Array
    begin: int
    frames: int
    search: Any


class StreamingRecogniser:
    """Recognises one stream of sound; for one thread.

    Args:
        engine, weights: a package's program and a model [P].
        search: one of `decoder`; None: greedy.
        rules: when an utterance ends before the sound does.
        fixed: statistics to normalise all by, instead of those of the speech so far.

    Raises:
        FedvoiceError: `bad-package` for a task without streaming methods, `wrong-shape`.
    """

    def __init__(
        self,
        engine: StreamingEngine,
        weights: FlatVector,
        search: Search[Any] | None = None,
        *,
        rules: tuple[EndpointRule, ...] = DEFAULT_RULES,
        normalisation: Normalisation = Normalisation(),
        fixed: Statistics | None = None,
    ) -> None:
        manifest = engine.manifest
        check_takes_audio(manifest)
        self._sizes = check_streams(manifest)
        manifest.parameters.check(weights, "weights to recognise with")
        self._engine, self._weights, self._rules = engine, weights, rules
        self._search = search if search is not None else decoder(engine, weights)
        self._fixed = fixed
        settings = manifest.features
        per_sec = settings.sample_rate / settings.hop_samples
        self._warmup_frames = 0.0 if fixed else normalisation.warmup_secs * per_sec
        self._memory_frames = max(normalisation.memory_secs * per_sec, 1.0)
        self._frame_secs = settings.stack / per_sec
        self._state = self._fresh(no_statistics(settings.mel_bins), 0)

    @property
    def sample_rate(self) -> int:
        """Samples a second that `accept` takes."""
        return self._engine.manifest.features.sample_rate

    def accept(self, samples: Float32Array) -> list[Result]:
        """Hear the next samples float32 [N] in +-1, any number: what changed.

        A result for every chunk that changed the best text, and one for every end of an utterance.
        """
        settings = self._engine.manifest.features
        chunk = self._sizes.frames * settings.stack
        blocks, pending = cut_blocks(self._state.pending, samples, settings, chunk)
        self._state = replace(self._state, pending=pending)
        return [r for block in blocks for r in self._hear(self._engine.features(block))]

    def finish(self) -> Result:
        """The sound ends: what was said since the last end. Then begins another stream, with the
        statistics of this one."""
        state, settings = self._state, self._engine.manifest.features
        if settings.frames(len(state.pending)):
            self._wait(self._engine.features(state.pending))
        for features in self._released(everything=True):
            self._decode(features)
        result = self._result(final=True)
        self._state = self._fresh(self._state.statistics, 0)
        return result

    def _hear(self, features: Float32Array) -> Iterator[Result]:
        self._wait(features)
        for released in self._released(everything=False):
            before = self._best().tokens
            self._decode(released)
            state = self._state
            best = self._best()
            silent = state.frames - (best.times[-1] if best.times else 0)
            rule = ending_rule(
                self._rules,
                spoken=bool(best.tokens),
                silence_secs=silent * self._frame_secs,
                utterance_secs=state.frames * self._frame_secs,
            )
            if rule is not None:
                yield replace(self._result(final=True), rule=rule)
                again = self._fresh(state.statistics, state.begin + state.frames)
                self._state = replace(
                    again, pending=self._state.pending, waiting=self._state.waiting
                )
            elif best.tokens != before:
                yield self._result(final=False)

    def _wait(self, features: Float32Array) -> None:
        state = self._state
        self._state = replace(
            state,
            waiting=(*state.waiting, features),
            statistics=heard(state.statistics, features, self._memory_frames),
        )

    def _released(self, *, everything: bool) -> Iterator[Float32Array]:
        """Normalised blocks whose wait is over."""
        state = self._state
        if everything or state.statistics.frames >= min(self._warmup_frames, self._memory_frames):
            self._state = replace(state, waiting=())
            statistics = self._fixed or state.statistics
            for features in state.waiting:
                yield normalised(statistics, features)

    def _decode(self, features: Float32Array) -> None:
        """A block of at most a chunk's normalised frames."""
        state, settings = self._state, self._engine.manifest.features
        chunk = np.zeros((self._sizes.frames * settings.stack, settings.mel_bins), np.float32)
        chunk[: len(features)] = features
        outputs, encoder = self._engine.stream(self._weights, chunk, state.encoder)
        frames = settings.stacked_frames(len(features))
        begun = self._search.start() if state.search is None else state.search
        self._state = replace(
            state,
            encoder=encoder,
            frames=state.frames + frames,
            search=self._search.advance(begun, outputs[:frames]),
        )

    def _best(self, *, ended: bool = False) -> Hypothesis:
        if self._state.search is None:
            return Hypothesis((), (), 0.0)
        return self._search.best(self._state.search, ended=ended)

    def _result(self, *, final: bool) -> Result:
        state, best = self._state, self._best(ended=final)
        return Result(
            text=self._engine.manifest.vocabulary.decode(best.tokens),
            tokens=best.tokens,
            token_secs=tuple((state.begin + t) * self._frame_secs for t in best.times),
            score=best.score,
            begin_secs=state.begin * self._frame_secs,
            end_secs=(state.begin + state.frames) * self._frame_secs,
            final=final,
        )

    def _fresh(self, statistics: Statistics, begin: int) -> _Heard:
        encoder = np.zeros(self._sizes.encoder_state, np.float32)
        return _Heard(np.zeros(0, np.float32), (), statistics, encoder, begin, 0, None)


class EngineTransducer:
    """`search.Transducer` by an engine's `predict` and `join`, R hypotheses a call."""

    def __init__(self, engine: StreamingEngine, weights: FlatVector, sizes: Streaming) -> None:
        self._engine, self._weights, self._sizes = engine, weights, sizes

    @property
    def state_size(self) -> int:
        """See `search.Transducer`."""
        return self._sizes.predictor_state

    def predict(self, tokens: list[int], states: Float32Array) -> tuple[Float32Array, Float32Array]:
        """See `search.Transducer`."""
        predictions, after = [], []
        for rows in self._groups(len(tokens)):
            given = np.zeros(self._sizes.rows, np.int64)
            given[: len(rows)] = tokens[rows.start : rows.stop]
            found = self._engine.predict(self._weights, given, self._filled(states, rows))
            predictions.append(found[0][: len(rows)])
            after.append(found[1][: len(rows)])
        return np.concatenate(predictions), np.concatenate(after)

    def join(self, output: Float32Array, predictions: Float32Array) -> Float32Array:
        """See `search.Transducer`."""
        repeated = np.repeat(output[None], self._sizes.rows, 0)
        found = [
            self._engine.join(self._weights, repeated, self._filled(predictions, rows))[: len(rows)]
            for rows in self._groups(len(predictions))
        ]
        return np.concatenate(found)

    def _groups(self, count: int) -> list[range]:
        size = self._sizes.rows
        return [range(first, min(first + size, count)) for first in range(0, count, size)]

    def _filled(self, values: Float32Array, rows: range) -> Float32Array:
        """Some rows of [n, K], with zeros up to [R, K]."""
        found = np.zeros((self._sizes.rows, values.shape[1]), np.float32)
        found[: len(rows)] = values[rows.start : rows.stop]
        return found


def decoder(
    engine: StreamingEngine,
    weights: FlatVector,
    settings: Settings = GREEDY,
    lm: LanguageModel | None = None,
) -> Search[Any]:
    """The task's decoder; a beam of 1 without a language model gives the tokens of
    `decode_<bucket>`."""
    sizes = check_streams(engine.manifest)
    greedy = settings.beam == 1 and lm is None and not settings.insertion_bonus
    if not sizes.predictor_state:
        return GreedyCtc() if greedy else BeamCtc(settings, lm)
    model, symbols = EngineTransducer(engine, weights, sizes), sizes.max_symbols_per_frame
    if greedy:
        return GreedyTransducer(model, symbols)
    return BeamTransducer(model, symbols, settings, lm)
