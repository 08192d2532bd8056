#!/usr/bin/env bash
# jiwer 4.0.0.
#
# Expected: wer and cer prepare their texts alike, so that a hypothesis with two spaces between words
# is as right for one as for the other.
# Happens: wer folds white space, cer only strips the ends: "a  b" for "a b" has a word error rate of
# 0 and a character error rate of 1/3.
# Matters: decoders that join word pieces or characters leave doubled spaces. Fold white space in
# references and hypotheses before characters are counted.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check jiwer==4.0.0
"$folder/env/bin/python" - <<'PY'
import jiwer

words, characters = jiwer.wer("a b", "a  b"), jiwer.cer("a b", "a  b")
ends = jiwer.cer("a b", " a b ")
print(f"two spaces: wer {words}, cer {characters:.3f}; spaces at the ends: cer {ends}")
assert (words, round(characters, 3), ends) == (0.0, 0.333, 0.0), "the behaviour has changed"
PY
