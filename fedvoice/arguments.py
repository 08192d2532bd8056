"""What `fedvoice.simulate` is told, as the settings that the rooms take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fedvoice.algorithm.client_rules import PlannedRule
from fedvoice.algorithm.doors import CLIENT_RULES, SERVER_OPTIMIZERS, UPDATE_LINKS
from fedvoice.algorithm.settings import AlgorithmConfig
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.registry import Registry
from fedvoice.protocol.settings import validated
from fedvoice.reporting.callbacks import CALLBACKS, Callback, make_callbacks

Plugin = str | Mapping[str, Any] | Callable[..., Any]
"""A name, a class or function, or a table `{name or kind: either of them, ...settings}`."""


def table_of(door: Registry[Any], plugin: Plugin, key: str = "name") -> dict[str, Any]:
    """`plugin` as a table of settings, what is plugged in by its name."""
    table = dict(plugin) if isinstance(plugin, Mapping) else {key: plugin}
    if key not in table:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=f"a {door.door}",
            got=f"a table without {key!r}: {', '.join(map(str, table)) or 'empty'}",
            wanted=f"{key}, and settings beside",
            next_step=f"Add {key!r}: one of {', '.join(door.names())}, or a class of your own.",
        )
    return {**table, key: door.name_of(table[key])}


def optioned(door: Registry[Any], plugin: Plugin) -> dict[str, Any]:
    """A table `{name, options}` of one `{name, ...options}`."""
    table = table_of(door, plugin)
    name, options = table.pop("name"), table.pop("options", None)
    if options is not None and table:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=f"{door.door} {name}",
            got=f"options, and beside them {', '.join(map(str, table))}",
            wanted="all settings in `options`, or all beside the name",
            next_step="Put them in one place.",
        )
    return {"name": name, "options": table if options is None else options}


def algorithm_config(
    rounds: int,
    cohort_size: int,
    optimizer: Plugin | None,
    links: Sequence[Plugin],
    seed: int,
    further: Mapping[str, Any],
) -> AlgorithmConfig:
    """The algorithm's settings, what is plugged in by its name."""
    own = {"rounds", "cohort_size", "optimizer", "links", "seed"} & set(further)
    if own:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where="simulate, algorithm",
            got=", ".join(sorted(own)),
            wanted="settings that are no arguments of their own",
            next_step=f"Give {', '.join(sorted(own))} to `simulate` itself.",
        )
    fields: dict[str, Any] = {
        "rounds": rounds,
        "cohort_size": cohort_size,
        "seed": seed,
        "evaluate_every": rounds,
        **further,
    }
    if optimizer is not None:
        fields["optimizer"] = table_of(SERVER_OPTIMIZERS, optimizer)
    if links:
        fields["links"] = [optioned(UPDATE_LINKS, link) for link in links]
    return validated(
        AlgorithmConfig,
        fields,
        "simulate",
        wanted="a setting of the algorithm",
        next_step="`fedvoice.AlgorithmConfig` lists every setting with its meaning.",
    )


def training_plan(
    plan: TrainingPlan | Mapping[str, Any] | None, client_rule: Plugin | None, seed: int
) -> TrainingPlan:
    """The clients' plan; a rule that cannot be had says so here."""
    fields = dict(plan.model_dump() if isinstance(plan, TrainingPlan) else plan or {})
    if fields.get("seed", seed) not in (seed, 0):
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where="simulate, plan",
            got=f"seed {fields['seed']}, and seed={seed} of the run",
            wanted="one seed",
            next_step="Give `seed` to `simulate` alone.",
        )
    if client_rule is not None:
        rule = optioned(CLIENT_RULES, client_rule)
        fields |= {"client_rule": rule["name"], "client_rule_options": rule["options"]}
    made = validated(
        TrainingPlan,
        {**fields, "seed": seed},
        "simulate, plan",
        wanted="a setting of a client's training",
        next_step="`fedvoice.TrainingPlan` lists every setting with its meaning.",
    )
    PlannedRule.of(made)  # a rule that cannot be had says so before anything is made
    return made


def callbacks_of(wanted: Sequence[Callback | Plugin]) -> list[Callback]:
    """Callbacks as they are, or made of what names them."""
    made: list[Callback] = []
    for one in wanted:
        if isinstance(one, Callback):
            made.append(one)
        else:
            made += make_callbacks([table_of(CALLBACKS, one)])
    return made
