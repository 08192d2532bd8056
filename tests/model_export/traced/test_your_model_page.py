"""docs/your-model.md: its example trains, its tables are those of the code."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.zoo.tasks import ZOO
from fedvoice.model_export.config import BucketConfig, ExportConfig, VocabularyConfig
from fedvoice.model_export.fresh import new_model, parameter_table
from fedvoice.model_export.gradient_check import GRADIENT_TOLERANCE, Checked, check_step
from fedvoice.model_export.kinds.module import Predicts
from fedvoice.model_export.kinds.named import INPUTS
from fedvoice.model_export.traced.constructs import as_markdown
from fedvoice.protocol.task import FeatureSettings
from tests.model_export.eager import EagerGraphs

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "your-model.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "features", "frames"),
    [
        ("Recogniser", FeatureSettings(mel_bins=5, stack=2), 9),
        ("OnSamples", FeatureSettings.model_validate({"kind": "waveform"}), 4000),
    ],
)
def test_the_examples_are_models_that_train(
    name: str, features: FeatureSettings, frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("mymodel")
    for example in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(example, vars(module))
    monkeypatch.setitem(sys.modules, "mymodel", module)
    config = ExportConfig(
        name="mine",
        model={"kind": f"mymodel:{name}", "hidden": 6},
        features=features,
        vocabulary=VocabularyConfig(tokens=("on", "off")),
        buckets=(BucketConfig(frames=frames, labels=2, batch=2),),
    )
    model = new_model(config, 3)
    (bucket,) = config.task_buckets()
    checked = Checked(config.model, model, parameter_table(model), config.features)
    assert check_step(EagerGraphs(checked, bucket), checked, bucket).error < GRADIENT_TOLERANCE


def test_the_table_of_constructs_is_current() -> None:
    # If not: python -m fedvoice.model_export.traced.constructs
    assert as_markdown() in PAGE


def test_every_input_and_every_kind_of_prediction_is_named() -> None:
    assert [name for name in INPUTS if f"`{name}`" not in PAGE] == []
    assert [kind for kind in Predicts if f'`"{kind}"`' not in PAGE] == []


def test_the_zoos_table_has_every_model() -> None:
    rows = re.findall(r"^\| ([a-z0-9-]+) \|", PAGE, re.MULTILINE)
    assert set(ZOO) <= set(rows)
