"""Weights of somebody else's checkpoint: what is taken, what is not, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from fedvoice.model_export.checkpoints import read_checkpoint, seed_model
from fedvoice.model_export.config import ExportConfig
from fedvoice.model_export.fresh import new_model
from fedvoice.model_export.models.base import TaskModel
from fedvoice.model_export.seeds import Seeds, WeightsMap, read_weights_map, take_seeds
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from tests.model_export.conftest import CONFIGS

CONFIG: ExportConfig = CONFIGS["ctc-bidirectional"]
NAMES = """
[names]
"encoder.bias_ih_*" = ["module.rnn.bias_ih_*", "module.rnn.bias_hh_*"]
"encoder.*" = "module.rnn.*"
"output.*" = "module.head.*"
"""


def theirs() -> dict[str, torch.Tensor]:
    """What another trainer would save: PyTorch's own LSTM, and a head with another name."""
    torch.manual_seed(3)
    rnn = torch.nn.LSTM(10, 6, batch_first=True, bidirectional=True)
    head = torch.nn.Linear(12, 6)
    parts = {"module.rnn": rnn, "module.head": head}
    return {f"{k}.{n}": t for k, part in parts.items() for n, t in part.state_dict().items()}


@pytest.fixture
def names(tmp_path: Path) -> WeightsMap:
    (tmp_path / "names.toml").write_text(NAMES)
    return read_weights_map(tmp_path / "names.toml")


def new() -> TaskModel:
    return new_model(CONFIG, 6)


@pytest.mark.parametrize("nested", ["", "state_dict", "model"])
def test_a_torch_checkpoint_comes_in_by_a_name_map(
    nested: str, tmp_path: Path, names: WeightsMap
) -> None:
    """PyTorch's two biases of an LSTM add up to our one: the model computes the same."""
    saved = theirs()
    torch.save({nested: saved, "epoch": 3} if nested else saved, tmp_path / "them.pt")
    model = new()
    seeds = seed_model(model, tmp_path / "them.pt", names)
    assert not seeds.missing
    assert not seeds.unused
    reference = torch.nn.LSTM(10, 6, batch_first=True, bidirectional=True)
    reference.load_state_dict(
        {n.removeprefix("module.rnn."): t for n, t in saved.items() if ".rnn." in n}
    )
    x = torch.randn(1, 7, 10)
    wanted = torch.nn.functional.linear(
        reference(x)[0], saved["module.head.weight"], saved["module.head.bias"]
    )
    torch.testing.assert_close(model(x, torch.tensor([7])), wanted)


def test_what_is_missing_is_refused_unless_it_is_said(tmp_path: Path, names: WeightsMap) -> None:
    saved = theirs()
    del saved["module.head.bias"]
    save_file({**saved, "ema.step": torch.zeros(1)}, tmp_path / "them.safetensors")
    model = new()
    initial = model.output.bias.detach().clone()
    with pytest.raises(FedvoiceError) as caught:
        seed_model(model, tmp_path / "them.safetensors", names)
    assert caught.value.code is ErrorCode.WRONG_SHAPE
    assert "output.bias" in caught.value.got
    assert "--allow-partial-weights" in caught.value.next_step
    seeds = seed_model(model, tmp_path / "them.safetensors", names, allow_partial=True)
    assert seeds.missing == ("output.bias",)
    assert seeds.unused == ("ema.step",)
    report = " ".join(seeds.lines())
    assert "output.bias" in report
    assert "ema.step" in report
    assert torch.equal(model.output.bias, initial)
    assert torch.equal(model.output.weight, saved["module.head.weight"])


def test_a_map_of_nothing_leaves_nothing_random_even_if_partial_is_allowed(tmp_path: Path) -> None:
    """A misspelt map would otherwise train from random weights."""
    torch.save(theirs(), tmp_path / "them.pt")
    with pytest.raises(FedvoiceError, match="nothing for"):
        seed_model(new(), tmp_path / "them.pt", WeightsMap(), allow_partial=True)


def test_shapes_are_checked_and_a_matrix_the_other_way_round_can_be_turned() -> None:
    tensors = {"w": torch.arange(6.0).view(2, 3)}
    with pytest.raises(FedvoiceError) as caught:
        take_seeds(tensors, WeightsMap(), {"w": (3, 2)})
    assert caught.value.code is ErrorCode.WRONG_SHAPE
    assert "transpose" in caught.value.next_step
    found = take_seeds(tensors, WeightsMap(transpose=("w",)), {"w": (3, 2)})
    assert torch.equal(found.taken["w"], tensors["w"].t())


def test_stars_stand_for_text_and_other_characters_for_themselves() -> None:
    names = WeightsMap(names={"layers.*.a(*)": "x.*.b[*]", "*": "rest.*"})
    assert names.sources("layers.12.a(k.w)") == ("x.12.b[k.w]",)
    assert names.sources("layersX12.a(k)") == ("rest.layersX12.a(k)",)


def test_frozen_integers_pass_the_map_as_they_are() -> None:
    tensors = {"old.count": torch.tensor(3), "old.int8": torch.ones(2, dtype=torch.int8)}
    names = WeightsMap(names={"*": "old.*"})
    found = take_seeds(tensors, names, {"count": (), "int8": (2,)})
    assert found == Seeds({"count": tensors["old.count"], "int8": tensors["old.int8"]}, (), ())


class Evil:
    """What a file could run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("run",)


@pytest.mark.parametrize("made", ["code", "text", "list", "empty", "deep", "integers", "infinite"])
def test_files_that_are_no_weights_are_refused(
    made: str, tmp_path: Path, names: WeightsMap, capsys: pytest.CaptureFixture[str]
) -> None:
    deep: dict[str, Any] = {"x": torch.ones(1)}
    for _ in range(9):
        deep = {"model": deep}
    saved = theirs()
    contents = {
        "code": {"state_dict": Evil()},
        "list": [torch.ones(1)],
        "empty": {},
        "deep": deep,
        "integers": {name: t.to(torch.int8) for name, t in saved.items()},
        "infinite": {name: t / 0 for name, t in saved.items()},
    }
    path = tmp_path / "them.ckpt"
    if made == "text":
        path.write_text("no checkpoint")
    else:
        torch.save(contents[made], path)
    with pytest.raises(FedvoiceError) as caught:
        seed_model(new(), path, names)
    assert caught.value.code in {ErrorCode.BAD_PACKAGE, ErrorCode.NOT_FINITE}
    assert "run" not in capsys.readouterr().out


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(FedvoiceError, match="not-found"):
        read_checkpoint(tmp_path / "nowhere.pt")
