"""The length of a trial: the rounds that its CFMQ budget pays for, and when it ends."""

from __future__ import annotations

from fedvoice.laboratory.experiment.trials import Trial
from fedvoice.protocol.codec import plain_bytes
from fedvoice.protocol.task import TaskManifest
from fedvoice.server.config import ServerConfig
from fedvoice.simulation.abandoned import stuck
from fedvoice.simulation.clients import Population
from fedvoice.simulation.fast.course import draw_client_course
from fedvoice.simulation.federation import FederationState
from fedvoice.simulation.training import rates_of

_CLIENTS_PRICED = 64


def within_budget(trial: Trial, manifest: TaskManifest, population: Population) -> ServerConfig:
    """The trial's server settings. If it names a budget and no rounds, the rounds are computed from
    the budget: schedules that decay to the last round need their number in advance.

    The cost of a round is K (weights + update + alpha mu steps), steps and mu those of the clients'
    first round on average.
    """
    settings, server = trial.settings, trial.server
    if settings.cfmq_budget_bytes is None or "rounds" in settings.server:
        return server
    byte_steps = []
    for client_id in population.client_ids[:_CLIENTS_PRICED]:
        data = population.train(client_id)
        course = draw_client_course(manifest, client_id, data, trial.plan, 1)
        if course.used:
            byte_steps.append(len(course.steps) * course.planned_memory_bytes(manifest, trial.plan))
    clients = min(server.cohort_size, len(population.client_ids))
    mean = sum(byte_steps) / max(1, len(byte_steps))
    # Savings by compression are not spent.
    down, up = (
        plain_bytes(encoding, manifest.parameters.total_size)
        for encoding in (server.download_encoding, trial.plan.update_encoding)
    )
    round_bytes = clients * (down + up + server.alpha * mean)
    rounds = max(1, int(settings.cfmq_budget_bytes / round_bytes))
    return server.model_copy(update={"rounds": rounds})


def is_over(trial: Trial, state: FederationState) -> bool:
    """Whether the trial's target or its budget is reached, or no update is accepted any more
    (unless the trial has a plan schedule, which may change that)."""
    settings = trial.settings
    if stuck(state.rows) and not settings.server.get("plan_schedule"):
        return True
    budget = settings.cfmq_budget_bytes
    if budget is not None and state.cost.total_bytes >= budget:
        return True
    if settings.target is None or state.number not in state.evaluations:
        return False
    rate = rates_of(state.evaluations[state.number]).get(settings.target_metric)
    return rate is not None and rate <= settings.target
