#!/usr/bin/env bash
# PyAV 18.1.0 (its own FFmpeg) and soundfile 0.14.0 (its own libsndfile), NumPy 2.4.6.
#
# Expected: Ogg Vorbis carries its exact length (the last page's granule position), so that FFmpeg's
# decoder gives back as many samples as libsndfile wrote: 16000 of 16000.
# Happens: soundfile reads 16000; PyAV's decoder gives 15744, the first block of 256 samples less. Of
# 12018 samples it gives 12416, more than there were.
# Matters: who compares a stated duration with a decoded one, or cuts segments by sample numbers, gets
# other samples from the two libraries. Read Vorbis by libsndfile where lengths count.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check av==18.1.0 soundfile==0.14.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PY'
import io

import av
import numpy as np
import soundfile

found = {}
for samples in (16000, 12018):
    tone = 0.3 * np.sin(2 * np.pi * 300 * np.arange(samples) / 16000)
    file = io.BytesIO()
    soundfile.write(file, tone, 16000, format="OGG", subtype="VORBIS")
    file.seek(0)
    by_soundfile = len(soundfile.read(file)[0])
    file.seek(0)
    by_pyav = sum(frame.samples for frame in av.open(file).decode(audio=0))
    found[samples] = (by_soundfile, by_pyav)
    print(f"{samples} written: soundfile reads {by_soundfile}, PyAV {by_pyav}")
assert found == {16000: (16000, 15744), 12018: (12018, 12416)}, "the behaviour has changed"
PY
