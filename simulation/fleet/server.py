"""The server's settings in a simulated fleet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedvoice.data.speakers import PhoneData
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.notes import counted
from fedvoice.server.config import EVERYTHING, ServerConfig, parse_config
from fedvoice.simulation.fleet.config import SimulationConfig

# Phones of a simulation do not wait for a battery to charge: they may call often.
_RETRY = {"least_secs": 0.05, "most_secs": 1.0, "spread": 0.5}


def server_config(config: SimulationConfig, phones: Sequence[PhoneData]) -> ServerConfig:
    """The run's own table, completed from the fleet's size.

    Raises:
        FedvoiceError: `bad-config`, also for a cohort that is larger than the fleet.
    """
    where = f"[server] of {config.name}"
    training = sum(1 for phone in phones if phone.train)
    # Phones with scripts may never return: the server does not wait long for them.
    presence: dict[str, Any] = {"lease_secs": 30.0, "evaluation_timeout_secs": 60.0}
    if not config.fleet.scripts:
        presence = {
            "min_population": training,
            "min_test_population": sum(1 for phone in phones if phone.test),
        }
    fields: dict[str, Any] = {
        "bind": "127.0.0.1:0",
        "insecure": True,  # all of it on this machine
        "retry": _RETRY,
        "keep": EVERYTHING,
        "seed": config.seed,
        **presence,
        **config.server,
        "plan": {**config.plan.model_dump(), "seed": config.seed},
    }
    settings = parse_config(fields, where)
    if settings.cohort_size > training:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=f"{where}, cohort_size",
            got=f"a cohort of {settings.cohort_size}, and {counted(training, 'phone')} with "
            "speech to train on",
            wanted=f"a cohort of at most {training}: no round could reach its goal",
            next_step=f"Give --cohort-size {max(1, training)} or less, or more speakers.",
        )
    return settings
