"""A corpus of features without sounds: three words, each a pattern over six bins and some noise."""

import json

import numpy as np

WORDS = ("go", "left", "up")


def write_corpus(folder, speakers=4, each=10):
    """`folder/manifest.jsonl` and an npz file a speaker; the manifest's path."""
    random = np.random.default_rng(0)
    patterns = random.normal(size=(len(WORDS), 12, 6))
    lines = []
    for speaker in range(speakers):
        arrays = {}
        for number in range(each):
            word = number % len(WORDS)
            sound = patterns[word] + 0.3 * random.normal(size=(12, 6))
            arrays[f"u{number}"] = sound.astype("f4")
            lines.append(
                {
                    "feats_filepath": f"s{speaker}.npz",
                    "key": f"u{number}",
                    "text": WORDS[word].upper(),
                    "num_frames": 12,
                    "speaker": f"s{speaker}",
                }
            )
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / f"s{speaker}.npz", **arrays)
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def base_toml(manifest, rounds=8):
    """[base...] of an experiment or a search on that corpus."""
    return f"""
[base]
export = false

[base.data]
corpus = "features"
manifest = "{manifest}"
holdout_speakers = 1

[base.task.model]
kind = "ctc"

[base.task.model.encoder]
layers = 1
hidden_size = 8
bidirectional = true

[base.task.features]
mel_bins = 6
stack = 2

[[base.task.buckets]]
frames = 8
labels = 1
batch = 4

[base.plan]
batch_size = 4
client_rate = 1.0
clip_norm = 3.0

[base.server]
rounds = {rounds}
cohort_size = 3
evaluate_every = 2
"""
