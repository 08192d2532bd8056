"""A plan's settings that differ from parameter to parameter, resolved once a round.

Unused settings cost nothing: a plan that treats all parameters alike has no frozen parts, no
shares, and one part for its noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fedvoice.device_runtime.flat import clip_factor, norm
from fedvoice.protocol.parameters import FlatVector, ParameterSpec, ParameterTable
from fedvoice.protocol.plan import TrainingPlan, frozen_parts, trained_parameters


@dataclass(frozen=True)
class Layers:
    """Parts of the flat vector and what is done with each."""

    frozen: tuple[slice, ...]
    """Parameters that do not train."""
    noise: tuple[tuple[slice, float], ...]
    """The standard deviation of FVN's noise by part; empty without FVN."""
    shares: tuple[tuple[slice, float], ...]
    """sqrt(size_i / P) of each parameter that trains, P floats together; empty unless the plan
    clips per layer."""


def layers_of(plan: TrainingPlan, table: ParameterTable, initial: FlatVector) -> Layers:
    """What `plan` means for the parameters of `table` at the weights `initial` [P].

    Raises:
        FedvoiceError: `bad-config` if the plan trains parameters that the table lacks.
    """
    trained = trained_parameters(plan, table)
    frozen = frozen_parts(plan, table)
    shares: tuple[tuple[slice, float], ...] = ()
    if plan.clip_per_layer:
        floats = sum(spec.size for spec in trained)
        shares = tuple((spec.place, math.sqrt(spec.size / floats)) for spec in trained)
    return Layers(frozen, _noise(plan, table, trained, frozen, initial), shares)


def clip_shares(
    vector: FlatVector, bound: float, shares: tuple[tuple[slice, float], ...], margin: float = 0.0
) -> float:
    """Scale each part of `vector` [P] down to its share of `bound`, in place; 0: no bound.

    Args:
        margin: a part that is scaled ends so much below its bound, relatively.

    Returns:
        The norm of all parts together as it was before; NaN or infinity if a value is.
    """
    total = 0.0
    for part, share in shares:
        part_norm = norm(vector[part])
        total += part_norm * part_norm
        factor = clip_factor(part_norm, bound * share)
        if factor < 1:
            vector[part] *= np.float32(factor * (1 - margin))
    return math.sqrt(total)


def _noise(
    plan: TrainingPlan,
    table: ParameterTable,
    trained: tuple[ParameterSpec, ...],
    frozen: tuple[slice, ...],
    initial: FlatVector,
) -> tuple[tuple[slice, float], ...]:
    if plan.fvn_std == 0:
        return ()
    if not (plan.fvn_relative or frozen):
        return ((slice(0, table.total_size), plan.fvn_std),)
    units = [_rms(initial[spec.place]) if plan.fvn_relative else 1.0 for spec in trained]
    noisy = [(spec.place, plan.fvn_std * unit) for spec, unit in zip(trained, units, strict=True)]
    return (*noisy, *((part, 0.0) for part in frozen))


def _rms(values: FlatVector) -> float:
    return norm(values) / math.sqrt(values.size)
