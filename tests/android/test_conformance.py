"""Law 9: the Kotlin phone on Android's binary and the Python phone are one algorithm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from fedvoice.device_runtime.course import draw_course
from fedvoice.device_runtime.evaluation import evaluate
from fedvoice.device_runtime.executorch_engine import ExecuTorchEngine
from fedvoice.device_runtime.trainer import train
from fedvoice.model_export.vocabulary import build_vocabulary
from fedvoice.protocol.engine import Example, make_batch, normalise_features
from fedvoice.protocol.errors import FedvoiceError
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.plan import SpecAugment, TrainingPlan
from fedvoice.protocol.task import TaskPackage
from fedvoice.protocol.vocabulary import TargetKind
from tests.android.jvm import ask, needs_phone, training_job
from tests.android.tasks import MODELS, TEXTS, config_of
from tests.shared import exported

pytestmark = [pytest.mark.slow, needs_phone]
torch.set_num_threads(1)

EVERYTHING = TrainingPlan(
    local_epochs=3,
    batch_size=5,
    data_limit=9,
    client_rate=0.4,
    client_momentum=0.5,
    clip_norm=1.0,
    fvn_std=0.05,
    spec_augment=SpecAugment(
        time_masks=2, time_mask_frames=4, frequency_masks=1, frequency_mask_bins=2
    ),
    seed=2**64 - 5,
    max_update_norm=0.75,
)
PLANS = {
    "everything": EVERYTHING,
    "by-layer": EVERYTHING.model_copy(
        update={
            "clip_per_layer": True,
            "fvn_relative": True,
            "trainable": ("encoder", "output"),
            "prox_mu": 0.2,
        }
    ),
    "partly": TrainingPlan(trainable=("encoder",), fvn_std=0.02, local_epochs=2),
    "fedprox": TrainingPlan(prox_mu=0.5, local_epochs=3, batch_size=2),
    "plain": TrainingPlan(batch_size=1, clip_norm=0),
    "one-batch": TrainingPlan(batch_size=0, local_epochs=2, client_momentum=0.9, seed=3),
}


@pytest.fixture(scope="module", params=sorted(MODELS))
def package(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> TaskPackage:
    return exported(config_of(request.param), tmp_path_factory).package


@pytest.fixture(scope="module")
def engine(package: TaskPackage) -> ExecuTorchEngine:
    return ExecuTorchEngine(package)


def some_examples(package: TaskPackage, count: int = 13) -> list[Example]:
    """Utterances for both buckets and one for none, seeded."""
    random = np.random.default_rng(3)
    manifest = package.manifest
    bins = manifest.features.mel_bins
    examples = [
        Example(
            random.normal(size=(int(random.integers(8, 24)), bins)).astype(np.float32),
            [
                int(t)
                for t in random.integers(1, manifest.vocabulary.size, int(random.integers(1, 4)))
            ],
        )
        for _ in range(count)
    ]
    examples[4] = Example(np.zeros((25, bins), dtype=np.float32), [1])
    return examples


def plans_for(package: TaskPackage) -> dict[str, TrainingPlan]:
    """`PLANS` by the names of the model's own first and last layers."""
    names = [spec.name.partition(".")[0] for spec in package.manifest.parameters.parameters]
    own = {"encoder": names[0], "output": names[-1]}
    return {
        name: plan.model_copy(update={"trainable": tuple(own[part] for part in plan.trainable)})
        for name, plan in PLANS.items()
    }


def job(
    directory: Path, package: TaskPackage, plan: TrainingPlan, examples: list[Example]
) -> dict[str, Any]:
    return training_job(
        directory, package, plan, package.weights(), examples, client_id="phone-é", round_number=7
    )


def difference(got: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32]) -> float:
    """Relative, of norms."""
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


def test_law_9_the_same_plan_gives_the_same_update(
    package: TaskPackage, engine: ExecuTorchEngine, tmp_path: Path
) -> None:
    """Update, statistics and course, for plans that use every knob; and resumed, bit for bit."""
    examples = some_examples(package)
    questions: list[dict[str, Any]] = []
    plans = plans_for(package)
    for name, plan in plans.items():
        asked = job(tmp_path / name, package, plan, examples)
        questions += [
            {"kind": "course", "id": f"course-{name}", "job": asked},
            {"kind": "training", "id": name, "job": asked},
        ]
    whole = questions[0]["job"]
    questions.append({"kind": "training", "id": "resumed", "stop_after": 4, "job": whole})
    answers = ask(tmp_path / "answers", questions)

    for name, plan in plans.items():
        naming: dict[str, Any] = {"client_id": "phone-é", "round_number": 7}
        course = draw_course(package.manifest, examples, plan, **naming)
        assert answers.facts[f"course-{name}"] == {
            "skipped": course.skipped,
            "used": course.used,
            "buckets": course.buckets,
            "noise_offsets": course.noise_offsets,
            "draw_offsets": course.draw_offsets,
            "steps": [[epoch, batch] for epoch, batch in course.steps],
        }
        mine = train(engine, examples, plan, package.weights(), **naming)
        assert mine.delta is not None
        facts = answers.facts[name]
        assert facts["status"] == mine.status
        assert facts["used"] == list(mine.used)
        assert difference(answers.floats(name, "delta"), mine.delta) <= 1e-4

        theirs = pb.Statistics.FromString(answers.bytes_of(name, "statistics"))
        assert theirs.loss == pytest.approx(mine.statistics.loss, rel=1e-4)
        assert theirs.train_secs > 0
        for field in ("examples", "steps", "planned_memory_bytes", "skipped_examples"):
            assert getattr(theirs, field) == getattr(mine.statistics, field), field

    assert answers.facts["resumed"]["stopped_after"] == 4
    assert answers.bytes_of("resumed", "delta") == answers.bytes_of("everything", "delta")


def test_a_plan_for_another_model_is_refused_alike(
    package: TaskPackage, engine: ExecuTorchEngine, tmp_path: Path
) -> None:
    examples = some_examples(package)
    plan = TrainingPlan(trainable=("encoder", "decoder"))
    asked = job(tmp_path / "job", package, plan, examples)
    answers = ask(tmp_path / "answers", [{"kind": "training", "id": "refused", "job": asked}])
    with pytest.raises(FedvoiceError) as caught:
        train(engine, examples, plan, package.weights(), client_id="phone-é", round_number=7)
    theirs = answers.facts["refused"]["error"]
    assert theirs["code"] == caught.value.code.value
    for part in ("where", "got", "wanted"):
        assert theirs[part] == getattr(caught.value, part)


def test_features_and_transcripts_are_the_same(
    package: TaskPackage, engine: ExecuTorchEngine, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    waveforms = [(random.normal(size=n) * 0.1).astype(np.float32) for n in (512, 700, 5000, 32000)]
    for i, waveform in enumerate(waveforms):
        waveform.tofile(tmp_path / f"wave-{i}.bin")
    task = str(package.directory)
    questions: list[dict[str, Any]] = [
        {
            "kind": "features",
            "id": f"wave-{i}",
            "task": task,
            "waveform": f"{tmp_path}/wave-{i}.bin",
        }
        for i in range(len(waveforms))
    ]
    examples = [e for e in some_examples(package) if len(e.features) < 25]
    asked = job(tmp_path / "job", package, EVERYTHING, examples)
    # Weights far from the start, so that something is said.
    weights = random.normal(size=package.weights().size).astype(np.float32)
    weights.tofile(asked["weights"])
    questions.append({"kind": "recognition", "id": "heard", "job": asked})
    answers = ask(tmp_path / "answers", questions)

    bins = package.manifest.features.mel_bins
    for i, waveform in enumerate(waveforms):
        mel = engine.features(waveform)
        theirs = answers.floats(f"wave-{i}", "mel").reshape(-1, bins)
        np.testing.assert_allclose(theirs, mel, atol=1e-4)
        normalised = answers.floats(f"wave-{i}", "normalised").reshape(-1, bins)
        np.testing.assert_allclose(normalised, normalise_features(mel), atol=1e-4)

    ids = []
    for example in examples:
        frames = package.manifest.features.stacked_frames(len(example.features))
        bucket = package.manifest.bucket_for(frames, len(example.targets))
        assert bucket is not None
        batch = make_batch([example], bucket, package.manifest, weight=0.0)
        ids.append(engine.decode(bucket, weights, batch.features, batch.frame_counts)[0])
    assert any(ids), "nothing was said: the comparison would be empty"
    heard = answers.facts["heard"]
    assert heard["ids"] == ids
    mine = evaluate(engine, examples, weights)
    assert mine is not None
    counted = ("word_errors", "words", "char_errors", "chars", "utterances")
    for field in (*counted, "planned_memory_bytes"):
        assert heard[field] == getattr(mine, field), field


def test_damaged_and_foreign_packages_are_refused_alike(
    package: TaskPackage, tmp_path: Path
) -> None:
    """A flipped byte never reaches the runtime, which it would crash."""
    data = bytearray(package.program_path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    flipped = tmp_path / "flipped"
    flipped.mkdir()
    (flipped / "program.pte").write_bytes(data)
    manifest = (package.directory / "task.json").read_bytes()
    (flipped / "task.json").write_bytes(manifest)
    changes = {
        "operator": package.manifest.model_copy(update={"operators": ("aten::teleport.out",)}),
        "version": package.manifest.model_copy(update={"format_version": 2}),
    }
    for name, changed in changes.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "program.pte").write_bytes(package.program_path.read_bytes())
        (tmp_path / name / "task.json").write_text(changed.model_dump_json())
    extra = manifest.replace(b'"labels": 2', b'"labels": 2, "tables": 2', 1)
    assert extra != manifest
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "task.json").write_bytes(extra)
    np.zeros(600, dtype=np.float32).tofile(tmp_path / "wave.bin")
    wanted = {
        "flipped": ("wrong-digest", "program.pte"),
        "operator": ("missing-operator", "program.pte"),
        "version": ("bad-package", "task.json"),
        "extra": ("bad-package", "buckets.0.tables"),
    }
    answers = ask(
        tmp_path / "answers",
        [
            {
                "kind": "features",
                "id": name,
                "task": str(tmp_path / name),
                "waveform": f"{tmp_path}/wave.bin",
            }
            for name in wanted
        ],
    )
    for name, (code, where) in wanted.items():
        error = answers.facts[name]["error"]
        assert error["code"] == code
        assert where in error["where"]


def test_a_manifest_that_does_not_fit_its_program_is_an_error_and_not_a_crash(
    package: TaskPackage, tmp_path: Path
) -> None:
    """Shapes that the program does not have, each tried in training and in recognition."""
    plain = package.manifest.model_dump(mode="json")
    changes: dict[str, tuple[list[str | int], Any]] = {
        "frames": (["buckets", 1, "frames"], 14),
        "batch": (["buckets", 1, "batch"], 5),
        "labels": (["buckets", 1, "labels"], 9),
        "bins": (["features", "mel_bins"], 5),
        "parameters": (["parameters", "parameters"], plain["parameters"]["parameters"][:-1]),
        "order": (["parameters", "parameters"], plain["parameters"]["parameters"][::-1]),
        "size": (["parameters", "total_size"], plain["parameters"]["total_size"] + 4),
    }
    questions: list[dict[str, Any]] = []
    for name, ((*path, last), value) in changes.items():
        changed = json.loads(json.dumps(plain))
        place = changed
        for step in path:
            place = place[step]
        place[last] = value
        folder = tmp_path / name
        folder.mkdir()
        (folder / "task.json").write_text(json.dumps(changed))
        (folder / "program.pte").write_bytes(package.program_path.read_bytes())
        bins = changed["features"]["mel_bins"]
        example = Example(np.zeros((20, bins), dtype=np.float32), [1, 2, 3])
        weights = np.zeros(changed["parameters"]["total_size"], dtype=np.float32)
        naming: dict[str, Any] = {"client_id": "a", "round_number": 1}
        asked = training_job(folder, package, TrainingPlan(), weights, [example], **naming)
        asked["task"] = str(folder)
        questions.append({"kind": "training", "id": f"{name}-train", "job": asked})
        questions.append({"kind": "recognition", "id": f"{name}-hear", "job": asked})
    answers = ask(tmp_path / "answers", questions)
    for name in changes:
        assert answers.facts[f"{name}-train"]["error"]["code"] in ("bad-package", "wrong-shape")
        assert f"{name}-hear" in answers.facts


def test_texts_have_the_same_tokens(package: TaskPackage, tmp_path: Path) -> None:
    vocabulary = package.manifest.vocabulary
    texts = [*TEXTS, "  UP\tdown\u00a0LEFT \n", "sideways", "", " \u2003 ", "go\x85up"]
    ids = [[1, 0, 2], [], [5, 5, 3]]
    asked = {"task": str(package.directory), "texts": texts, "ids": ids}
    answers = ask(tmp_path, [{"kind": "vocabulary", "id": "texts", **asked}])
    for text, theirs in zip(texts, answers.facts["texts"]["ids"], strict=True):
        try:
            mine: Any = vocabulary.encode(text)
        except FedvoiceError as error:
            mine = str(error)
        assert theirs == mine, text
    assert answers.facts["texts"]["texts"] == [vocabulary.decode(i) for i in ids]


def test_word_pieces_are_the_same(package: TaskPackage, tmp_path: Path) -> None:
    """Sentencepiece's own ids, for texts of its corpus and for letters it never saw."""
    random = np.random.default_rng(2)
    letters = list("etaoinshrdlu'é日")
    words = ["".join(random.choice(letters, int(random.integers(1, 9)))) for _ in range(150)]
    lines = [" ".join(random.choice(words, 6)) for _ in range(200)]
    vocabulary = build_vocabulary(TargetKind.PIECE, lines, pieces=120)
    manifest = package.manifest.model_copy(update={"vocabulary": vocabulary})
    (tmp_path / "task.json").write_text(manifest.model_dump_json())
    strange = [*letters, "z", "q", "😀", "\u2581", "  ", " "]
    texts = lines + ["".join(random.choice(strange, 25)) for _ in range(200)] + ["zzz q", "\u2581"]
    texts = [text for text in texts if text.strip()]
    ids = [random.integers(1, vocabulary.size, 12).tolist() for _ in range(200)]
    asked = {"task": str(tmp_path), "texts": texts, "ids": ids}
    answers = ask(tmp_path / "answers", [{"kind": "vocabulary", "id": "texts", **asked}])
    unknown = 0
    for text, theirs in zip(texts, answers.facts["texts"]["ids"], strict=True):
        try:
            mine: Any = vocabulary.encode(text)
        except FedvoiceError as error:
            mine, unknown = str(error), unknown + 1
        assert theirs == mine, repr(text)
    assert 0 < unknown <= 202
    for said, theirs in zip(ids, answers.facts["texts"]["texts"], strict=True):
        assert theirs == vocabulary.decode(said), said
