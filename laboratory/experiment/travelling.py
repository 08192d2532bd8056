"""A trial as other processes find it: plug-ins by `module:name`, not by a decorator's names."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fedvoice.algorithm.doors import CLIENT_RULES, SERVER_OPTIMIZERS, UPDATE_LINKS
from fedvoice.laboratory.experiment.trials import Trial
from fedvoice.protocol.registry import Registry


def travelling_trial(trial: Trial) -> Trial:
    """The trial itself, or if a decorator in this process registered a plug-in that it names, the
    same trial with that plug-in's `module:name`, kept under the digest that it has here.

    Raises:
        FedvoiceError: `bad-plugin` for a plug-in that cannot be imported elsewhere.
    """
    from fedvoice.model_export.kinds import MODEL_KINDS
    from fedvoice.simulation.engines import ENGINES

    old = trial.settings
    task, server = copy.deepcopy(old.task), copy.deepcopy(old.server)
    task["model"] = _renamed(MODEL_KINDS, task.get("model"), "kind")
    server["optimizer"] = _renamed(SERVER_OPTIMIZERS, server.get("optimizer"))
    links = server.get("links")
    if isinstance(links, list | tuple):
        server["links"] = type(links)(_renamed(UPDATE_LINKS, link) for link in links)
    rule = CLIENT_RULES.travelling(old.plan.client_rule)
    changes = {
        "engine": ENGINES.travelling(old.engine),
        "task": {name: table for name, table in task.items() if name in old.task},
        "server": {name: table for name, table in server.items() if name in old.server},
        "plan": old.plan.model_copy(update={"client_rule": rule}),
    }
    if all(getattr(old, name) == value for name, value in changes.items()):
        return trial
    return replace(trial, settings=old.model_copy(update=changes), kept_as=trial.digest)


def _renamed(door: Registry[Any], table: Any, field: str = "name") -> Any:
    """A plug-in's table with the name that travels; what is no such table as it is: validation
    says what is wrong with it."""
    if not isinstance(table, Mapping) or not isinstance(table.get(field), str):
        return table
    return {**table, field: door.travelling(table[field])}
