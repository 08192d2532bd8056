"""Task packages: what is damaged is refused before any runtime sees it."""

import json

import numpy as np
import pytest

from fedvoice.protocol.codec import digest_of
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import ParameterTable
from fedvoice.protocol.scoring import Scoring
from fedvoice.protocol.task import (
    Bucket,
    FeatureSettings,
    TaskManifest,
    load_package,
    load_weights,
    save_weights,
    write_package,
)
from fedvoice.protocol.vocabulary import Vocabulary

TABLE = ParameterTable.from_shapes([("w", (2, 4)), ("b", (3,))])


@pytest.fixture
def package(tmp_path):
    directory = tmp_path / "task"
    program = b"program bytes"
    save_weights(directory / "weights.safetensors", np.arange(12, dtype=np.float32), TABLE)
    manifest = TaskManifest(
        name="tiny",
        model_kind="ctc",
        model={},
        parameters=TABLE,
        features=FeatureSettings(),
        buckets=(Bucket(name="t4", frames=4, labels=2, batch=2),),
        vocabulary=Vocabulary.from_words(["yes", "no"]),
        program_digest=digest_of(program),
        weights_digest=digest_of((directory / "weights.safetensors").read_bytes()),
    )
    return write_package(directory, manifest, program)


def test_a_package_round_trips(package):
    again = load_package(package.directory)
    assert again.manifest == package.manifest
    assert again.weights()[:8].tolist() == list(range(8))


@pytest.mark.parametrize("name", ["program.pte", "weights.safetensors"])
@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_flipped_and_missing_bytes_are_found_by_digest(package, name, damage):
    path = package.directory / name
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    else:
        del data[-3:]
    path.write_bytes(bytes(data))
    with pytest.raises(FedvoiceError) as caught:
        load_package(package.directory)
    assert caught.value.code is ErrorCode.WRONG_DIGEST
    assert name in caught.value.where


def test_a_manifest_that_lacks_a_field_says_which(package):
    path = package.directory / "task.json"
    path.write_text(path.read_text().replace('"program_digest"', '"program_digset"'))
    with pytest.raises(FedvoiceError, match="program_digest"):
        load_package(package.directory)
    path.unlink()
    with pytest.raises(FedvoiceError, match="not-found"):
        load_package(package.directory)


def test_a_manifest_damaged_into_other_valid_json_is_found(package):
    path = package.directory / "task.json"
    path.write_text(path.read_text().replace('"yes"', '"yet"'))
    with pytest.raises(FedvoiceError, match="wrong-digest") as caught:
        load_package(package.directory)
    assert caught.value.where == str(path)


def test_weights_that_are_not_finite_or_not_weights_are_refused(package, tmp_path):
    flat = np.zeros(12, dtype=np.float32)
    flat[3] = np.nan
    save_weights(tmp_path / "nan.safetensors", flat, TABLE)
    with pytest.raises(FedvoiceError, match="not-finite"):
        load_weights(tmp_path / "nan.safetensors", TABLE)
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(FedvoiceError, match="bad-package"):
        load_weights(tmp_path / "text.safetensors", TABLE)


def test_buckets_are_chosen_by_both_lengths(package):
    assert package.manifest.bucket_for(4, 2) is not None
    assert package.manifest.bucket_for(5, 2) is None
    assert package.manifest.bucket_for(4, 3) is None


def test_frames_follow_uncentred_framing():
    settings = FeatureSettings()
    assert [settings.frames(n) for n in (511, 512, 671, 672)] == [0, 1, 1, 2]
    assert [settings.stacked_frames(n) for n in (1, 8, 9)] == [1, 1, 2]


def test_a_manifest_of_0_1_0_says_by_its_kind_what_newer_kinds_say_themselves(package):
    """And is written as it was: phones of 0.1.0 refuse fields that they do not know."""
    fields = json.loads((package.directory / "task.json").read_bytes())
    for kind, takes_audio, scoring in (
        ("rnnt", True, Scoring.WORDS),
        ("ctc", True, Scoring.WORDS),
        ("2nn", False, Scoring.LABELS),
        ("cnn", False, Scoring.LABELS),
        ("char-lstm", False, Scoring.LABELS),
    ):
        old = TaskManifest.model_validate({**fields, "model_kind": kind})
        assert (old.takes_audio, old.scoring) == (takes_audio, scoring)
        assert not {"takes_audio", "scoring"} & set(json.loads(old.model_dump_json()))
    new = {**fields, "model_kind": "mine", "takes_audio": False, "scoring": "labels"}
    written = TaskManifest.model_validate(new).model_dump_json()
    assert (json.loads(written)["takes_audio"], json.loads(written)["scoring"]) == (False, "labels")
    assert not TaskManifest.model_validate_json(written).takes_audio
