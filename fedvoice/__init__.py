"""Federated training of speech recognisers on phones, and its simulation on a desktop.

    import fedvoice
    run = fedvoice.simulate(my_examples_by_client, "rnnt", rounds=100, cohort_size=10)

Names are imported at first use: `import fedvoice` loads no torch. docs/library.md explains them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    # Run something.
    "simulate": "fedvoice.running",
    "Simulation": "fedvoice.running",
    "start_server": "fedvoice.serving",
    "open_phone": "fedvoice.serving",
    "export_task": "fedvoice.serving",
    # What it is made of.
    "MappingDataset": "fedvoice.data.memory",
    "Example": "fedvoice.protocol.engine",
    "TrainingPlan": "fedvoice.protocol.plan",
    "AlgorithmConfig": "fedvoice.algorithm.settings",
    "ServerConfig": "fedvoice.server.config",
    "OptimizerConfig": "fedvoice.algorithm.settings",
    "OptimizerState": "fedvoice.algorithm.optimizers",
    "ParameterTable": "fedvoice.protocol.parameters",
    "Results": "fedvoice.reporting.results",
    "RoundResult": "fedvoice.reporting.results",
    "FedvoiceError": "fedvoice.protocol.errors",
    # What can be plugged in: contracts.
    "Dataset": "fedvoice.data.dataset",
    "ModelKind": "fedvoice.model_export.kinds.base",
    "module_kind": "fedvoice.model_export.kinds.module",
    "Contract": "fedvoice.algorithm.links",
    "Sees": "fedvoice.algorithm.links",
    "Seen": "fedvoice.algorithm.links",
    "Verdict": "fedvoice.algorithm.links",
    "Callback": "fedvoice.reporting.callbacks",
    "RoundEnd": "fedvoice.reporting.callbacks",
    # The doors.
    "datasets": "fedvoice.data.dataset",
    "partitions": "fedvoice.data.partitioning",
    "model_kinds": "fedvoice.model_export.kinds",
    "update_links": "fedvoice.algorithm.doors",
    "server_optimizers": "fedvoice.algorithm.doors",
    "client_rules": "fedvoice.algorithm.doors",
    "engines": "fedvoice.simulation.engines",
    "worker_pools": "fedvoice.simulation.workers.spread",
    "callbacks": "fedvoice.reporting.callbacks",
}

__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'fedvoice' has no attribute {name!r}")
    found = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
