"""Programs of the newest ExecuTorch run on the oldest binary that phones may have.

The names are written out so that a change is seen: an exporter that comes to need another operator
changes the list here, and the old binary must have it. The conformance suite trains with that
binary; here every kind of model is looked at.
"""

from __future__ import annotations

import re
import tomllib
import zipfile

import pytest

from benchmarks.zoo.operators import OPERATORS as ZOOS_OPERATORS
from fedvoice.android_harness.aar.build import RUNTIME_VERSION
from fedvoice.android_harness.apk.checks import unregistered_operators
from fedvoice.android_harness.emulation.jars import ANDROID, NATIVES, ROOT
from fedvoice.model_export.config import BucketConfig, ExportConfig, VocabularyConfig
from fedvoice.model_export.kinds import ModelConfig
from fedvoice.model_export.kinds.char_lstm import CharLstmConfig
from fedvoice.model_export.kinds.cnn import CnnConfig
from fedvoice.model_export.kinds.two_layer import TwoLayerConfig
from fedvoice.protocol.task import FeatureSettings
from tests.android.tasks import config_of
from tests.android.test_static_checks import ABIS, needs_natives
from tests.shared import exported

OLDEST, NEWEST = "1.3", "1.5.1"
OPERATORS = frozenset(
    {
        "XnnpackBackend",
        "aten::_log_softmax.out",
        "aten::add.out",
        "aten::arange.start_out",
        "aten::argmax.out",
        "aten::bitwise_and.Tensor_out",
        "aten::cat.out",
        "aten::constant_pad_nd.out",
        "aten::copy.out",
        "aten::copy_",
        "aten::eq.Scalar_out",
        "aten::eq.Tensor_out",
        "aten::expand_copy.out",
        "aten::flip.out",
        "aten::full.out",
        "aten::full_like.out",
        "aten::gather.out",
        "aten::gt.Scalar_out",
        "aten::index_select.out",
        "aten::lt.Tensor_out",
        "aten::mul.out",
        "aten::ne.Scalar_out",
        "aten::ne.Tensor_out",
        "aten::permute_copy.out",
        "aten::remainder.Scalar_out",
        "aten::select_copy.int_out",
        "aten::slice_copy.Tensor_out",
        "aten::slice_scatter.out",
        "aten::sub.out",
        "aten::sum.IntList_out",
        "aten::sym_size.int",
        "aten::unsqueeze_copy.out",
        "aten::view_copy.out",
        "aten::where.self_out",
        "dim_order_ops::_clone_dim_order.out",
        "dim_order_ops::_to_dim_order_copy.out",
        "executorch_prim::add.Scalar",
        "executorch_prim::eq.Scalar",
        "executorch_prim::et_copy_index.tensor",
        "executorch_prim::et_view.default",
        "executorch_prim::floordiv.Scalar",
        "executorch_prim::mul.Scalar",
        "executorch_prim::sub.Scalar",
    }
)
"""What programs of all kinds of models need: operators and delegates."""

LABELLERS: dict[str, tuple[ModelConfig, FeatureSettings]] = {
    "2nn": (TwoLayerConfig(hidden_size=5), FeatureSettings(mel_bins=3, stack=2)),
    "cnn": (
        CnnConfig(channels1=2, channels2=3, dense_size=4),
        FeatureSettings(mel_bins=8, stack=8),
    ),
    "char-lstm": (
        CharLstmConfig(embedding_size=3, hidden_size=4, layers=2),
        FeatureSettings(mel_bins=1, stack=1),
    ),
}
SLOW = ("char-lstm", "ctc", "rnnt")
CLASSES = ("EValue", "ExecuTorchRuntime", "Module", "Tensor")
"""Of ExecuTorch's Java classes, those that the engine uses."""


def task_config(kind: str) -> ExportConfig:
    if kind not in LABELLERS:
        return config_of(kind)
    model, features = LABELLERS[kind]
    return ExportConfig(
        name=f"tiny-{kind}",
        model=model,
        features=features,
        vocabulary=VocabularyConfig(tokens=("a", "b", "c", "d", "e"), as_given=True),
        buckets=(BucketConfig(frames=6, labels=6, batch=2),),
    )


def test_the_versions_are_those_that_were_compared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"executorch=={NEWEST}" in project["optional-dependencies"]["device"]
    assert RUNTIME_VERSION == OLDEST


@needs_natives
@pytest.mark.parametrize("abi", ABIS)
def test_the_oldest_binary_has_every_operator_by_name(abi: str) -> None:
    runtime = (NATIVES / "jni" / abi / "libexecutorch.so").read_bytes()
    assert unregistered_operators(OPERATORS | ZOOS_OPERATORS, runtime) == []


@pytest.mark.parametrize(
    "kind",
    [
        "2nn",
        "cnn",
        *(pytest.param(k, marks=pytest.mark.slow) for k in ("char-lstm", "ctc", "rnnt")),
    ],
)
def test_the_newest_exporter_needs_no_other_operator(
    kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    manifest = exported(task_config(kind), tmp_path_factory).package.manifest
    needed = {*manifest.operators, *manifest.delegates}
    assert len(needed) > 10
    assert needed - OPERATORS == set()


@needs_natives
def test_the_engine_alone_uses_executorch_and_only_what_the_oldest_has() -> None:
    used: dict[str, set[str]] = {}
    for path in sorted(ANDROID.glob("*/src/main/kotlin/**/*.kt")):
        names = re.findall(r"org\.pytorch\.executorch\.(\w+)", path.read_text())
        if names:
            used.setdefault(path.relative_to(ANDROID).parts[0], set()).update(names)
    assert used == {"engine": set(CLASSES)}
    with zipfile.ZipFile(NATIVES / "classes.jar") as jar:
        there = set(jar.namelist())
    assert {
        name for name in CLASSES if f"org/pytorch/executorch/{name}.class" not in there
    } == set()
