"""Two runs of a module agree about draws and numbers; what cannot be exact is refused by line."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import rnn

import fedvoice.model_export.traced.rewrites  # noqa: F401  fills the table
from fedvoice.model_export.traced.constructs import Verdict, constructs, torch_function
from fedvoice.model_export.traced.rewriting import TABLE, Drawn, Rewriting, _seen_inside
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from tests.model_export.traced.laws import randn

ROOT = Path(__file__).resolve().parents[3]


def test_the_table_of_constructs_is_what_is_rewritten_and_refused() -> None:
    met: dict[str, set[Any]] = {}
    for function, rewrite in TABLE.items():
        met.setdefault(rewrite.name, set()).add(function)
    rows = {
        row.name: set(map(torch_function, row.functions))
        for row in constructs().values()
        if row.functions
    }
    assert met == rows


def test_each_construct_says_what_happens_to_it() -> None:
    for row in constructs().values():
        assert row.title, row.name
        assert row.stock, row.name
        if row.verdict is Verdict.REFUSED:
            assert row.alternative, row.name
        else:
            assert row.form, row.name


def test_each_alternative_belongs_to_a_refusal() -> None:
    folder = ROOT / "model_export" / "traced" / "rewrites"
    source = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    for row in constructs().values():
        by_code = f'"{row.name}"' in source and "refuse(" in source
        if row.alternative:
            assert row.verdict is Verdict.REFUSED or by_code, row.name


class Tagger(nn.Module):
    """Dropout of two kinds, a random mask, and a mask of the longest length."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.LSTM(3, 4, num_layers=2, dropout=0.25, batch_first=True)
        self.dropout, self.channels = nn.Dropout(0.1), nn.Dropout1d(0.2)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        longest = int(lengths.max())
        x = self.channels(x) * (torch.rand(x.shape[0], 1, 1) < 0.9)
        hidden = self.dropout(self.body(x)[0])[:, :longest]
        inside = torch.arange(lengths.max()) < lengths[:, None]
        return (hidden * inside[:, :, None]).sum((1, 2))


def test_both_runs_meet_the_same_draws_and_numbers() -> None:
    torch.manual_seed(0)
    module, x, lengths = Tagger(), torch.randn(2, 5, 3), torch.tensor([4, 2])
    with torch.no_grad(), Rewriting() as first:
        module(x, lengths)
    assert first.notes.drawn == [
        Drawn("dropout", (2, 5, 1), 0.2),
        Drawn("uniform", (2, 1, 1)),
        Drawn("dropout", (5, 2, 4), 0.25),
        Drawn("dropout", (2, 5, 4), 0.1),
    ]
    assert first.values == [4, 4]
    file = Path(__file__)
    source, start = inspect.getsourcelines(Tagger.forward)
    lines = [start + n for n, line in enumerate(source) if "lengths.max()" in line]
    assert [number.place for number in first.notes.numbers] == [f"{file}:{n}" for n in lines]

    masks = [torch.rand(draw.shape) for draw in first.notes.drawn]
    shorter = torch.tensor([3, 2])  # the second run does not look
    with Rewriting(masks, first.values) as second:
        replayed = module(x, shorter)
    assert second.notes == first.notes

    # By hand, with the same masks.
    body = nn.LSTM(3, 4, batch_first=True), nn.LSTM(4, 4, batch_first=True)
    weights = module.body.state_dict()
    for k, layer in enumerate(body):
        own = {n: weights[n.replace("l0", f"l{k}")] for n in layer.state_dict()}
        layer.load_state_dict(own)
    hidden = body[0](x * masks[0] * (masks[1] < 0.9))[0] * masks[2].transpose(0, 1)
    hidden = (body[1](hidden)[0] * masks[3])[:, :4]
    inside = torch.arange(4) < shorter[:, None]
    torch.testing.assert_close(replayed, (hidden * inside[:, :, None]).sum((1, 2)))


def test_a_module_may_be_computed_as_pytorch_does_it_with_the_hosts_draws() -> None:
    torch.manual_seed(0)
    module, x, lengths = Tagger(), torch.randn(2, 5, 3), torch.tensor([4, 2])
    with torch.no_grad(), Rewriting() as first:
        module(x, lengths)
    masks = [torch.rand(draw.shape) for draw in first.notes.drawn]
    with Rewriting(masks, first.values) as all_rewritten:
        wanted = module(x, lengths)
    with Rewriting(masks, draws_only=True) as mode:
        torch.testing.assert_close(module(x, lengths), wanted)
    assert mode.notes.drawn == all_rewritten.notes.drawn
    assert set(mode.notes.rewritten) == {"dropout", "rand", "lstm"}


def test_a_module_in_eval_mode_draws_nothing() -> None:
    module, x = Tagger().eval(), torch.randn(2, 5, 3)
    with torch.no_grad(), Rewriting() as mode:
        module.dropout(module.channels(module.body(x)[0]))
    assert not mode.notes.drawn
    assert "dropout" not in mode.notes.rewritten


def test_draws_of_other_kinds_come_from_uniform_ones() -> None:
    u = torch.tensor([0.0, 0.3, 0.6, 0.999999])
    uses: list[tuple[Callable[[], Tensor], Tensor]] = [
        (lambda: torch.rand(4), u),
        (lambda: torch.rand((4,)), u),
        (lambda: torch.rand(size=(4,), dtype=torch.float64), u.double()),
        (lambda: torch.rand_like(u), u),
        (lambda: torch.randint(3, (4,)), torch.tensor([0, 0, 1, 2])),
        (lambda: torch.randint(-1, 2, size=(4,)), torch.tensor([-1, -1, 0, 1])),
        (lambda: torch.bernoulli(torch.full((4,), 0.5)), torch.tensor([1.0, 1, 0, 0])),
        (lambda: torch.empty(4).bernoulli_(0.5) * 2, torch.tensor([2.0, 2, 0, 0])),
        (lambda: torch.empty(4).uniform_(-1, 1), u * 2 - 1),
    ]
    for use, wanted in uses:
        with Rewriting([u], []) as mode:
            found = use()
        assert torch.equal(found, wanted)
        assert found.dtype == wanted.dtype
        assert mode.notes.drawn == [Drawn("uniform", (4,))]


def test_a_second_run_that_reads_more_is_refused() -> None:
    with Rewriting([], []), pytest.raises(FedvoiceError, match="first run did not make"):
        torch.ones(1).item()
    with Rewriting([], []), pytest.raises(FedvoiceError, match="first run did not make"):
        torch.rand(2)


REFUSED: dict[str, Callable[[Tensor], Any]] = {
    "conv3d": lambda x: functional.conv3d(x.reshape(1, 1, 2, 3, 4), torch.ones(1, 1, 1, 1, 1)),
    "other_pools": lambda x: functional.max_pool2d(x, 2, return_indices=True),
    "recurrent": lambda x: nn.LSTM(4, 3, proj_size=2)(x),
    "sort": lambda x: torch.sort(x),
    "cumulative": lambda x: (x > 0).long().cumprod(2),
    "alpha_dropout": lambda x: functional.alpha_dropout(x, 0.1, True),
    "other_draws": lambda x: x + torch.randn(4),
    "masked_select": lambda x: x[0].masked_select(x[0] > -9).sum(),
    "masked_select by size": lambda x: x[0].masked_select(x[0] > -9).shape,
    "indexing": lambda x: x[x > 0],
    "nonzero": lambda x: torch.where(x > 0),
    "framing": lambda x: x.unfold(2, 2, 1),
    "numpy": lambda x: x.detach().numpy(),
    "batch_norm": lambda x: nn.BatchNorm1d(3, track_running_stats=False)(x),
    "ctc_loss": lambda x: functional.ctc_loss(
        x, torch.tensor([1, 2, 1]), torch.tensor([2, 2, 2]), torch.tensor([1, 1, 1])
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_line_and_the_alternative(name: str) -> None:
    x, line = randn(2, 3, 4, dtype=torch.float32), REFUSED[name].__code__.co_firstlineno
    with Rewriting(), pytest.raises(FedvoiceError) as caught:
        REFUSED[name](x)
    assert caught.value.code is ErrorCode.BAD_CONFIG
    assert caught.value.next_step == constructs()[name.partition(" ")[0]].alternative
    where, _, number = caught.value.where.rpartition(":")
    assert where == __file__
    assert line <= int(number) <= line + 2


def test_what_shares_memory_with_a_tensor_changed_in_place_is_refused_afterwards() -> None:
    with Rewriting():
        h = torch.ones(2, 3) * 2
        h[:, :2].masked_fill_(torch.tensor([True, False]), 0.0)
        assert h.shape == (2, 3)  # what it is may be asked
        with pytest.raises(FedvoiceError, match="shares memory"):
            h + 1
    with Rewriting():
        h = torch.ones(2, 3) * 2
        before = h.view(-1)
        h.relu_()
        assert (h.view(-1) + 1).shape == (6,)
        with pytest.raises(FedvoiceError, match="shares memory"):
            before + 1


def test_a_packed_sequence_made_by_hand_is_refused() -> None:
    made = rnn.PackedSequence(torch.ones(3, 2), torch.tensor([2, 1]))
    with Rewriting(), pytest.raises(FedvoiceError, match="made by hand"):
        rnn.pad_packed_sequence(made)


def test_sizes_and_bounds_may_be_tensors() -> None:
    x, n = torch.arange(6.0).reshape(2, 3), torch.tensor(2)
    with Rewriting() as mode:
        found = torch.arange(n), x[:, :n], x.reshape(3, n), torch.zeros(n, 3)
    assert [list(y.shape) for y in found] == [[2], [2, 2], [3, 2], [2, 3]]
    assert mode.values == [2, 2, 2, 2]


class Own(Tensor):
    """Of a library that has its own way with torch functions."""


def test_other_threads_see_functional_as_it_is() -> None:
    own, seen = torch.ones(1).as_subclass(Own), []

    def look() -> None:
        seen.append(functional.has_torch_function_unary(own))

    with _seen_inside():
        look()
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    look()
    assert seen == [False, True, True]
