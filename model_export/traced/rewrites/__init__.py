"""The replacements, by topic. Importing this package fills the table of `rewriting`."""

from fedvoice.model_export.traced.rewrites import (
    activations as activations,
    attention as attention,
    convolutions as convolutions,
    ctc as ctc,
    draws as draws,
    indexing as indexing,
    losses as losses,
    norms as norms,
    numbers as numbers,
    packed as packed,
    picking as picking,
    pools as pools,
    recurrent as recurrent,
    refusals as refusals,
    transducer as transducer,
)
