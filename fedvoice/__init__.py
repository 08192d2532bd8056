"""Federated training of speech recognisers on phones, and its simulation on a desktop.

    import fedvoice
    run = fedvoice.simulate(my_examples_by_client, "rnnt", rounds=100, cohort_size=10)

Names are imported at first use: `import fedvoice` loads no torch. docs/library.md explains them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fedvoice.algorithm.doors import CLIENT_RULES, SERVER_OPTIMIZERS, UPDATE_LINKS
    from fedvoice.algorithm.links import Contract as Contract
    from fedvoice.algorithm.links import Seen as Seen
    from fedvoice.algorithm.links import Sees as Sees
    from fedvoice.algorithm.links import Verdict as Verdict
    from fedvoice.algorithm.optimizers import OptimizerState as OptimizerState
    from fedvoice.algorithm.settings import AlgorithmConfig as AlgorithmConfig
    from fedvoice.algorithm.settings import OptimizerConfig as OptimizerConfig
    from fedvoice.data.dataset import DATASETS
    from fedvoice.data.dataset import Dataset as Dataset
    from fedvoice.data.memory import MappingDataset as MappingDataset
    from fedvoice.data.partitioning import PARTITIONS
    from fedvoice.exporting import export as export
    from fedvoice.exporting import export_task as export_task
    from fedvoice.model_export.batch import TensorBatch as TensorBatch
    from fedvoice.model_export.kinds import MODEL_KINDS
    from fedvoice.model_export.kinds.base import ModelKind as ModelKind
    from fedvoice.model_export.kinds.module import module_kind as module_kind
    from fedvoice.protocol.engine import Example as Example
    from fedvoice.protocol.errors import FedvoiceError as FedvoiceError
    from fedvoice.protocol.parameters import ParameterTable as ParameterTable
    from fedvoice.protocol.plan import TrainingPlan as TrainingPlan
    from fedvoice.reporting.callbacks import CALLBACKS
    from fedvoice.reporting.callbacks import Callback as Callback
    from fedvoice.reporting.callbacks import RoundEnd as RoundEnd
    from fedvoice.reporting.results import Results as Results
    from fedvoice.reporting.results import RoundResult as RoundResult
    from fedvoice.running import Simulation as Simulation
    from fedvoice.running import simulate as simulate
    from fedvoice.server.config import ServerConfig as ServerConfig
    from fedvoice.serving import open_phone as open_phone
    from fedvoice.serving import start_server as start_server
    from fedvoice.simulation.engines import ENGINES
    from fedvoice.simulation.workers.spread import WORKER_POOLS

    client_rules = CLIENT_RULES
    server_optimizers = SERVER_OPTIMIZERS
    update_links = UPDATE_LINKS
    datasets = DATASETS
    partitions = PARTITIONS
    model_kinds = MODEL_KINDS
    callbacks = CALLBACKS
    engines = ENGINES
    worker_pools = WORKER_POOLS

_WHERE = {
    # Run something.
    "simulate": "fedvoice.running",
    "Simulation": "fedvoice.running",
    "start_server": "fedvoice.serving",
    "open_phone": "fedvoice.serving",
    "export": "fedvoice.exporting",
    "export_task": "fedvoice.exporting",
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
    "TensorBatch": "fedvoice.model_export.batch",
    "module_kind": "fedvoice.model_export.kinds.module",
    "Contract": "fedvoice.algorithm.links",
    "Sees": "fedvoice.algorithm.links",
    "Seen": "fedvoice.algorithm.links",
    "Verdict": "fedvoice.algorithm.links",
    "Callback": "fedvoice.reporting.callbacks",
    "RoundEnd": "fedvoice.reporting.callbacks",
    # The doors.
    "datasets": "fedvoice.data.dataset:DATASETS",
    "partitions": "fedvoice.data.partitioning:PARTITIONS",
    "model_kinds": "fedvoice.model_export.kinds:MODEL_KINDS",
    "update_links": "fedvoice.algorithm.doors:UPDATE_LINKS",
    "server_optimizers": "fedvoice.algorithm.doors:SERVER_OPTIMIZERS",
    "client_rules": "fedvoice.algorithm.doors:CLIENT_RULES",
    "engines": "fedvoice.simulation.engines:ENGINES",
    "worker_pools": "fedvoice.simulation.workers.spread:WORKER_POOLS",
    "callbacks": "fedvoice.reporting.callbacks:CALLBACKS",
}

__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'fedvoice' has no attribute {name!r}")
    module, _, attribute = _WHERE[name].partition(":")
    found = getattr(importlib.import_module(module), attribute or name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
