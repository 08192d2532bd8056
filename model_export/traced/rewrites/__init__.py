"""The replacements, by topic. Importing this package fills the table of `rewriting`."""

from fedvoice.model_export.traced.rewrites import (
    activations,
    attention,
    convolutions,
    ctc,
    draws,
    indexing,
    losses,
    norms,
    numbers,
    packed,
    picking,
    pools,
    recurrent,
    refusals,
    transducer,
)

__all__ = [
    "activations",
    "attention",
    "convolutions",
    "ctc",
    "draws",
    "indexing",
    "losses",
    "norms",
    "numbers",
    "packed",
    "picking",
    "pools",
    "recurrent",
    "refusals",
    "transducer",
]
