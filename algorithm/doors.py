"""The algorithm's plug-in registries; built-in objects are registered in the same way."""

from __future__ import annotations

from typing import Any

from fedvoice.protocol.registry import Registry

SERVER_OPTIMIZERS: Registry[Any] = Registry(
    "server optimiser",
    "fedvoice.server_optimizers",
    {
        "sgd": "fedvoice.algorithm.optimizers:SGD",
        "adam": "fedvoice.algorithm.optimizers:ADAM",
        "yogi": "fedvoice.algorithm.optimizers:YOGI",
        "adagrad": "fedvoice.algorithm.optimizers:ADAGRAD",
        "lamb": "fedvoice.algorithm.optimizers:LAMB",
    },
)
"""Each an `algorithm.optimizers.ServerOptimiser`: an object, or a class made without arguments."""

UPDATE_LINKS: Registry[Any] = Registry(
    "update link",
    "fedvoice.update_links",
    {
        "weight": "fedvoice.algorithm.link_rules:Weight",
        "clip": "fedvoice.algorithm.link_rules:Clip",
        "encode": "fedvoice.algorithm.link_rules:Encode",
        "median": "fedvoice.algorithm.link_rules:Median",
        "trimmed-mean": "fedvoice.algorithm.link_rules:TrimmedMean",
    },
)
"""Of classes (or functions) that make an `algorithm.links.UpdateLink` or `CohortRule` of the
options that the settings name."""

CLIENT_RULES: Registry[Any] = Registry(
    "client rule",
    "fedvoice.client_rules",
    {"sgd": "fedvoice.algorithm.client_rules:SgdMomentum"},
)
"""Of classes that make an `algorithm.client_rules.ClientRule` of options."""
