"""The random draws of a client's round, made before its first step; identical to a phone's.

`device_runtime.course` makes the draws; here examples are rows of an array.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedvoice.device_runtime.batches import draw_examples
from fedvoice.device_runtime.course import Draws
from fedvoice.protocol.plan import TrainingPlan
from fedvoice.protocol.task import TaskManifest
from fedvoice.simulation.clients import ClientData


@dataclass(frozen=True)
class ClientCourse(Draws):
    """One client's round; `used` are rows of `data`."""

    client_id: str
    data: ClientData


def draw_client_course(
    manifest: TaskManifest, client_id: str, data: ClientData, plan: TrainingPlan, round_number: int
) -> ClientCourse:
    """Draw examples, batches, masks and noise of one client's round."""
    drawn = draw_examples(len(data), plan, client_id=client_id, round_number=round_number)
    used, buckets = fitting(manifest, data, drawn)
    draws = Draws.draw(
        manifest,
        used,
        buckets,
        plan,
        skipped=len(drawn) - len(used),
        client_id=client_id,
        round_number=round_number,
    )
    return ClientCourse(**vars(draws), client_id=client_id, data=data)


def fitting(
    manifest: TaskManifest, data: ClientData, drawn: Sequence[int]
) -> tuple[list[int], list[int]]:
    """The drawn examples that fit a bucket, and the index of each one's bucket."""
    stacked = -(-data.frames // manifest.features.stack)
    ends = np.array([(b.frames, b.labels) for b in manifest.buckets])
    fits = (stacked[:, None] <= ends[:, 0]) & (data.target_counts[:, None] <= ends[:, 1])
    places = np.where(np.any(fits, axis=1), fits.argmax(1), -1).tolist()
    used = [i for i in drawn if places[i] >= 0]
    return used, [places[i] for i in used]
