"""The reference of a word error rate is what was said, whatever the task's targets can spell."""

from __future__ import annotations

import numpy as np

from fedvoice.data.memory import MappingDataset
from fedvoice.protocol.parameters import FlatVector
from fedvoice.protocol.scoring import ErrorCounts
from fedvoice.protocol.text import TextRule
from fedvoice.protocol.vocabulary import Vocabulary
from fedvoice.simulation.engines import PhoneTrainer
from fedvoice.simulation.quality import judged
from fedvoice.simulation.speech import DatasetPopulation, FeatureLibrary
from tests.device_runtime.tiny import BINS, TinyEngine, tiny_manifest


class TinyTrainer(PhoneTrainer):
    """A phone's trainer on the engine of paper size."""

    def __init__(self, engine: TinyEngine) -> None:
        self._engine = engine  # type: ignore[assignment]


def test_unknown_words_of_a_test_set_are_errors_and_never_trained_on() -> None:
    vocabulary = Vocabulary.from_words(["no", "yes"], TextRule())
    manifest = tiny_manifest().model_copy(update={"vocabulary": vocabulary})
    frames = np.ones((3, BINS), dtype=np.float32)
    said = [(frames, text) for text in ("Yes.", "call Zoë", "room 5", "YES")]
    dataset = MappingDataset({"anna": said}, test={"anna": said})
    library = FeatureLibrary(manifest.features)
    population = DatasetPopulation(dataset.clients(), manifest, library)
    assert len(population.train("anna")) == 2
    always_yes: FlatVector = np.zeros(manifest.parameters.total_size, dtype=np.float32)
    always_yes[manifest.parameters.parameters[1].offset + 2] = 9  # the bias of "yes"
    found = judged(TinyTrainer(TinyEngine(manifest)), manifest, population, always_yes)
    # "yes" twice right; "call zoë" is two words, both wrong, and eight characters, none of them
    # in "yes"; "room 5" is refused.
    assert found == {"wer": ErrorCounts(errors=2, references=4, char_errors=8, chars=3 + 8 + 3)}
