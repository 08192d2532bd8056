"""Shakespeare's roles as a population (McMahan et al. 2016, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from fedvoice.data.corpora import RolesCorpus
from fedvoice.data.partitions import (
    by_group,
    iid,
)
from fedvoice.data.shakespeare import (
    Plays,
    Windows,
    cut_windows,
    read_roles,
)
from fedvoice.protocol.task import TaskManifest
from fedvoice.simulation.clients import ClientData

ROLES_FILE = "roles.jsonl.gz"


@lru_cache(maxsize=1)
def _plays(folder: Path, roles: int, unroll: int) -> Plays:
    found = read_roles(folder / ROLES_FILE)
    return cut_windows(found[:roles] if roles else found, unroll)


class RolesPopulation:
    """Roles that speak, or as many clients of equal size with all roles' windows shuffled."""

    def __init__(self, config: RolesCorpus, manifest: TaskManifest, seed: int) -> None:
        plays = _plays(config.folder, config.roles, config.unroll)
        self._train, self._manifest = plays.train, manifest
        if config.partition == "role":
            names = [plays.clients[i] for i in np.unique(plays.train_roles)]
            self._dealt = dict(zip(names, by_group(plays.train_roles), strict=True))
        else:
            clients = len(np.unique(plays.train_roles))
            dealt = iid(len(plays.train), clients, seed)
            self._dealt = {f"client{i:05d}": own for i, own in enumerate(dealt)}
        self.client_ids: Sequence[str] = list(self._dealt)
        every = max(1, -(-int(plays.test.lengths.sum()) // config.test_characters))
        chosen = np.arange(0, len(plays.test), every)
        self.evaluation: Mapping[str, Sequence[ClientData]] = {
            "wer": [self._collate(plays.test, chosen)]
        }

    def train(self, client_id: str) -> ClientData:
        """A client's windows: ids as features, the next ids as targets."""
        return self._collate(self._train, self._dealt[client_id])

    def _collate(
        self, windows: Windows, indices: np.ndarray[tuple[int], np.dtype[np.int64]]
    ) -> ClientData:
        features = self._manifest.features
        examples = windows.select(indices)
        return ClientData.collate(examples, features.stack, features.mel_bins)
