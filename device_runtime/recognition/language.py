"""Language models over a task's tokens: n-grams from ARPA files, and LSTMs.

A model gives natural log probabilities [V] of the next token; place 0, the blank's, is that of the
sentence's end.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fedvoice.device_runtime.recognition.search import Float64Array
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.vocabulary import BLANK

LOG_10 = math.log(10.0)
CACHED_STATES = 1024
"""Contexts whose log probabilities are kept: 4 MB of 512 tokens."""
MAX_ORDER = 10


class LanguageModel(Protocol):
    """Pure functions over a state of its own: what was said so far."""

    def start(self) -> Any:
        """Before a sentence."""

    def advance(self, state: Any, token: int) -> Any:
        """After one more token, 1..V-1."""

    def log_probs(self, state: Any) -> Float64Array | None:
        """Of what comes next [V]; None: nothing is known."""


class NoLanguageModel:
    """Nothing is known."""

    def start(self) -> None:
        """See `LanguageModel`."""

    def advance(self, state: None, token: int) -> None:
        """See `LanguageModel`."""

    def log_probs(self, state: None) -> None:
        """See `LanguageModel`."""


Gram = tuple[int, ...]
BEGIN = -1
"""Stands for <s> among a context's ids; </s> is 0."""


@dataclass(frozen=True)
class NGram:
    """log_p and back_off by ids, natural logs, of the model's n-grams of the task's tokens.

    unknown: log probability of a token that the model has not.
    """

    order: int
    log_p: dict[Gram, float]
    back_off: dict[Gram, float]
    unknown: float


class NGramModel:
    """An n-gram model with back-off (Katz 1987): its state is the last n - 1 ids."""

    def __init__(self, ngram: NGram, vocabulary_size: int) -> None:
        self._ngram, self._size = ngram, vocabulary_size
        self._cache: OrderedDict[Gram, Float64Array] = OrderedDict()

    def start(self) -> Gram:
        """See `LanguageModel`."""
        return self._shortened((BEGIN,))

    def advance(self, state: Gram, token: int) -> Gram:
        """See `LanguageModel`."""
        return self._shortened((*state, token))

    def log_probs(self, state: Gram) -> Float64Array:
        """See `LanguageModel`."""
        found = self._cache.get(state)
        if found is None:
            found = np.array([self.log_prob(state, token) for token in range(self._size)])
            self._cache[state] = found
            if len(self._cache) > CACHED_STATES:
                self._cache.popitem(last=False)
        self._cache.move_to_end(state)
        return found

    def log_prob(self, context: Gram, token: int) -> float:
        """Of one token after a context of ids, `BEGIN` for the sentence's begin."""
        log_p, backed_off = self._ngram.log_p, 0.0
        while (*context, token) not in log_p:
            if not context:
                return backed_off + self._ngram.unknown
            backed_off += self._ngram.back_off.get(context, 0.0)
            context = context[1:]
        return backed_off + log_p[(*context, token)]

    def _shortened(self, context: Gram) -> Gram:
        return context[max(0, len(context) - self._ngram.order + 1) :]


def read_arpa(path: Path, tokens: tuple[str, ...]) -> NGramModel:
    """An ARPA file over a task's tokens; tokens[0] is the blank.

    N-grams with words that are no tokens are left out: the task cannot say them.

    Raises:
        FedvoiceError: `not-found`; `bad-config` with the line that is none of an ARPA file, for
            an order above 10, or for a model that has not all tokens and no <unk>.
    """
    ids = {token: i for i, token in enumerate(tokens) if i != BLANK}
    ids |= {"<s>": BEGIN, "</s>": BLANK}
    log_p: dict[Gram, float] = {}
    back_off: dict[Gram, float] = {}
    unknown, order, section, ended = -math.inf, 0, 0, False
    for number, line in _lines(path):
        if line.startswith("\\"):
            if line == "\\end\\":
                ended = True
                break
            name, _, rest = line[1:].partition("-grams:")
            if line != "\\data\\":
                if rest or name != str(section + 1):
                    raise _bad(path, number, line, f"\\{section + 1}-grams: or \\end\\")
                section = order = section + 1
                if order > MAX_ORDER:
                    raise _bad(path, number, line, f"an order of at most {MAX_ORDER}")
            continue
        if not line or not section:
            continue  # the counts below \data\, or what stands before it
        fields = line.split()
        if len(fields) not in (section + 1, section + 2):
            raise _bad(path, number, line, f"a number, {section} words, a back-off weight or none")
        try:
            score = float(fields[0]) * LOG_10
            weight = float(fields[section + 1]) * LOG_10 if len(fields) > section + 1 else 0.0
        except ValueError as error:
            raise _bad(path, number, line, "numbers at its begin and end") from error
        if not (math.isfinite(score) and math.isfinite(weight)):
            raise _bad(path, number, line, "finite logarithms to the base of 10")
        words = fields[1 : section + 1]
        if words in (["<unk>"], ["<UNK>"]):
            unknown = score
        gram = tuple(ids[word] for word in words if word in ids)
        if len(gram) == section:
            log_p[gram], back_off[gram] = score, weight
    if not ended or not log_p:
        raise _bad(path, 0, "no \\end\\" if log_p else "no n-gram of the task's tokens", _WANTED)
    missing = [token for i, token in enumerate(tokens) if i != BLANK and (i,) not in log_p]
    if missing and unknown == -math.inf:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=str(path),
            got=f"no <unk>, and not {len(missing)} of the task's tokens: {', '.join(missing[:5])}",
            wanted="a model of the task's tokens",
            next_step="Make it of texts written in the task's tokens, or with <unk>.",
        )
    # A sentence's end that the model does not know costs nothing rather than everything.
    log_p.setdefault((BLANK,), 0.0)
    return NGramModel(NGram(order, log_p, back_off, unknown), len(tokens))


_WANTED = "an n-gram model in ARPA's format, from \\data\\ to \\end\\"


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise FedvoiceError(
            ErrorCode.NOT_FOUND,
            where=str(path),
            got=str(error.strerror or error),
            wanted=_WANTED,
            next_step="Check the path.",
        ) from error
    except UnicodeDecodeError as error:
        raise _bad(path, 0, "bytes that are not UTF-8", _WANTED) from error
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1)]


def _bad(path: Path, line: int, got: str, wanted: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.BAD_CONFIG,
        where=f"{path}, line {line}" if line else str(path),
        got=got[:100],
        wanted=wanted,
        next_step="Write the model again: SRILM, KenLM's lmplz and others write ARPA files.",
    )


class LstmModel:
    """An LSTM over the task's ids, of PyTorch's `nn.Embedding`, `nn.LSTM` and `nn.Linear`.

    Its input before a sentence, and its output for a sentence's end, is 0. States are tuples of
    hidden and cell of every layer, and the log probabilities that follow.

    Args:
        tensors: `embedding.weight` [V, E]; `lstm.weight_ih_l<k>` [4H, .], `lstm.weight_hh_l<k>`
            [4H, H], `lstm.bias_ih_l<k>` and, if there, `lstm.bias_hh_l<k>` [4H]; `output.weight`
            [V, H], `output.bias` [V].

    Raises:
        FedvoiceError: `wrong-shape` for what does not fit together or to V tokens.
    """

    def __init__(
        self, tensors: dict[str, np.ndarray[Any, Any]], vocabulary_size: int, where: str = "lm"
    ) -> None:
        self._t = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
        self._layers = sum(name.startswith("lstm.weight_ih_l") for name in tensors)
        for name in ("embedding.weight", "lstm.weight_hh_l0"):
            right = name in self._t and self._t[name].ndim == 2
            self._check(name, where, "a matrix", right=right)
        for name, shape in self._shapes(vocabulary_size).items():
            right = name in self._t and self._t[name].shape == shape
            self._check(name, where, str(shape), right=right)

    def _check(self, name: str, where: str, wanted: str, *, right: bool) -> None:
        if not right:
            raise FedvoiceError(
                ErrorCode.WRONG_SHAPE,
                where=f"{where}, {name}",
                got=str(self._t[name].shape) if name in self._t else "no such tensor",
                wanted=wanted,
                next_step="Train the language model on the task's token ids.",
            )

    def start(self) -> tuple[Any, ...]:
        """See `LanguageModel`."""
        zeros = np.zeros(self._t["lstm.weight_hh_l0"].shape[1])
        return self._after(BLANK, ((zeros, zeros),) * self._layers)

    def advance(self, state: tuple[Any, ...], token: int) -> tuple[Any, ...]:
        """See `LanguageModel`."""
        return self._after(token, state[0])

    def log_probs(self, state: tuple[Any, ...]) -> Float64Array:
        """See `LanguageModel`."""
        found: Float64Array = state[1]
        return found

    def _after(self, token: int, layers: Any) -> tuple[Any, ...]:
        x: Float64Array = self._t["embedding.weight"][token]
        after: list[tuple[Float64Array, Float64Array]] = []
        for layer, (hidden, cell) in enumerate(layers):
            gates = self._t[f"lstm.weight_ih_l{layer}"] @ x
            gates = gates + self._t[f"lstm.weight_hh_l{layer}"] @ hidden
            gates = gates + self._t[f"lstm.bias_ih_l{layer}"]
            gates = gates + self._t.get(f"lstm.bias_hh_l{layer}", 0.0)
            i, f, g, o = np.split(gates, 4)
            cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(g)
            x = _sigmoid(o) * np.tanh(cell)
            after.append((x, cell))
        logits = self._t["output.weight"] @ x + self._t["output.bias"]
        shifted = logits - logits.max()
        return tuple(after), shifted - math.log(np.exp(shifted).sum())

    def _shapes(self, size: int) -> dict[str, tuple[int, ...]]:
        hidden = self._t["lstm.weight_hh_l0"].shape[1]
        width = self._t["embedding.weight"].shape[1]
        shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (size, width)}
        for layer in range(max(1, self._layers)):
            shapes[f"lstm.weight_ih_l{layer}"] = (4 * hidden, hidden if layer else width)
            shapes[f"lstm.weight_hh_l{layer}"] = (4 * hidden, hidden)
            shapes[f"lstm.bias_ih_l{layer}"] = (4 * hidden,)
            if f"lstm.bias_hh_l{layer}" in self._t:
                shapes[f"lstm.bias_hh_l{layer}"] = (4 * hidden,)
        return shapes | {"output.weight": (size, hidden), "output.bias": (size,)}


def _sigmoid(x: Float64Array) -> Float64Array:
    found: Float64Array = 0.5 * (1.0 + np.tanh(0.5 * x))
    return found


def read_language_model(path: Path, tokens: tuple[str, ...]) -> LanguageModel:
    """An LSTM from a .safetensors file, or an n-gram model from an ARPA file.

    Raises:
        FedvoiceError: as `read_arpa` and `LstmModel`.
    """
    if path.suffix != ".safetensors":
        return read_arpa(path, tokens)
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, TypeError) as error:  # TypeError: numpy has no bfloat16
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG if path.is_file() else ErrorCode.NOT_FOUND,
            where=str(path),
            got=str(error).splitlines()[0],
            wanted="a safetensors file of an LSTM language model",
            next_step="Check the path; docs/recognition.md names the tensors.",
        ) from error
    return LstmModel(tensors, len(tokens), str(path))
