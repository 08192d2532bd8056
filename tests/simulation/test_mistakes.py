"""What people get wrong when they start a run is answered before anything is trained."""

import json

import numpy as np
import pytest
import soundfile


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("voices = 8", "voices = 0", "data.synthetic.voices"),
        ("holdout_speakers = 2", "holdout_speakers = 8", "8 of 8 speakers"),
        ("batch_size = 4", "batchsize = 4", "plan.batchsize"),
        ("[data]", "[data", "tiny.toml"),
        ('kind = "rnnt"', 'kind = "gnnt"', "[task] of tiny"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, tiny_config, fedvoice, old, new, says):
    path = tiny_config(2)
    path.write_text(path.read_text().replace(old, new))
    done = fedvoice("simulate", "--config", path, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert says in done.stderr
    assert "next:" in done.stderr


def test_a_missing_config_or_manifest_is_named(tmp_path, tiny_config, fedvoice):
    out = tmp_path / "run"
    done = fedvoice("simulate", "--config", tmp_path / "none.toml", "--out", out)
    assert (done.returncode, "not-found" in done.stderr) == (2, True)
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(
        json.dumps({"audio_filepath": "a.wav", "text": "x", "duration": 1, "speaker": "s"})
    )
    done = fedvoice("simulate", "--config", tiny_config(2), "--manifest", manifest, "--out", out)
    assert done.returncode == 2
    assert "missing-audio" in done.stderr
    assert f"{manifest}:1" in done.stderr


def test_speech_of_another_rate_is_named_before_training(tmp_path, tiny_config, fedvoice):
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), 8000)
    line = {"audio_filepath": "a.wav", "text": "yes", "duration": 1, "speaker": "s"}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(line))
    speech = ("--manifest", tmp_path / "manifest.jsonl", "--holdout-speakers", 0)
    config = ("--config", tiny_config(2), "--cohort-size", 1)
    done = fedvoice("simulate", *config, *speech, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "wrong-sample-rate" in done.stderr
    assert "a.wav" in done.stderr
    assert "ffmpeg" in done.stderr
    assert not (tmp_path / "run" / "task").exists()


def test_a_cohort_larger_than_the_fleet_is_refused_before_the_export(
    tmp_path, tiny_config, fedvoice
):
    config = ("--config", tiny_config(2), "--cohort-size", 10)
    done = fedvoice("simulate", *config, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "a cohort of 10, and 6 phones with speech to train on" in done.stderr
    assert not (tmp_path / "run" / "task").exists()


def test_help_teaches(fedvoice):
    done = fedvoice("--help")
    assert done.returncode == 0
    for name in ("simulate", "serve", "device", "export", "evaluate", "report", "data"):
        assert name in done.stdout
    assert "Example:" in fedvoice("simulate", "--help").stdout
