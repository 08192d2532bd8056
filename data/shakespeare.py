"""Shakespeare by speaking role: from each character the next one (McMahan et al. 2016, section 3).

`roles.jsonl.gz` holds one JSON object a line: client, train and test (lists of lines, the first
80% and the last 20% of the role's lines in order of time). A role's lines are joined by line
ends; its characters are cut into windows of `unroll` steps, in each of which the model starts
anew. All windows share one array of bytes with all roles' characters.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fedvoice.data.dataset import ArrayClients, Corpus
from fedvoice.data.partition_report import describe_partition
from fedvoice.data.partitioning import (
    Labels,
    PartitionRule,
    PartitionSettings,
    apply_partition,
    numbered,
)
from fedvoice.protocol.engine import Example, Examples, Int64Array
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.files import read_json_lines

CHARACTERS = "\n !$&',-.0123456789:;?ABCDEFGHIJKLMNOPQRSTUVWXYZ[]abcdefghijklmnopqrstuvwxyz"
"""The 76 characters of the corpus: token i + 1 of the task stands for character i."""
UNROLL = 80
"""Steps of a window in the paper."""
ROLES_FILE = "roles.jsonl.gz"

UInt8Array = npt.NDArray[np.uint8]


class RolesCorpus(PartitionSettings, Corpus):
    """Shakespeare by role as a dataset: `roles.jsonl.gz` of `folder`. Any partition but `role` has
    as many clients as there are roles that speak."""

    corpus: Literal["shakespeare"]
    folder: Path
    partition: str = "role"
    roles: int = Field(default=0, ge=0)
    """Number of roles, the first of the file; 0: all."""
    unroll: int = Field(default=80, ge=1)
    test_characters: int = Field(default=200_000, ge=1)
    """Of all roles' test lines together, evenly thinned: evaluating all takes minutes."""

    def identity(self) -> dict[str, Any]:
        """See `Dataset.identity`; the folder is not part of it."""
        return {**self.settings({"folder", "partition"}), **self.chosen}

    def clients(self, partition: str | PartitionRule | None = None, seed: int = 0) -> ArrayClients:
        """One client a role, or the partition's clients."""
        plays = _plays(self.folder, self.roles, self.unroll)
        speaking, sources = np.unique(plays.train_roles, return_inverse=True)
        names = [plays.clients[i] for i in speaking]
        firsts = plays.train.ids[plays.train.starts]
        labels = Labels(firsts, sources.astype(np.int64), names)
        rule = partition or self.partition
        count = 0 if rule in ("role", "speaker") else len(names)
        options = self.partition_options
        parts = apply_partition(rule, labels, clients=count, seed=seed, options=options)
        indices = numbered(parts, 5)
        every = max(1, -(-int(plays.test.lengths.sum()) // self.test_characters))
        tests = plays.test.select(np.arange(0, len(plays.test), every))
        return ArrayClients(
            plays.train,
            [client_id for client_id, own in indices.items() if len(own)],
            indices.__getitem__,
            {"wer": tests},
            report=lambda: describe_partition(list(indices.values()), firsts),
        )


@lru_cache(maxsize=1)
def _plays(folder: Path, roles: int, unroll: int) -> Plays:
    found = read_roles(folder / ROLES_FILE)
    return cut_windows(found[:roles] if roles else found, unroll)


@dataclass(frozen=True)
class Role:
    """One client's text. client_id: play/role."""

    client_id: str
    train: str
    test: str


@dataclass(frozen=True)
class Windows(Examples):
    """Windows over token ids; `windows[i]` is an example: ids, and the ids one step on.

    ids: uint8 [N], shared. starts: int64 [n]. lengths: int64 [n], 1..unroll steps each.
    """

    ids: UInt8Array
    starts: Int64Array
    lengths: Int64Array

    def select(self, indices: Int64Array) -> Windows:
        """The windows of one client, int64 [m] indices; shares the ids."""
        return Windows(self.ids, self.starts[indices], self.lengths[indices])

    def __len__(self) -> int:
        return len(self.starts)

    def example(self, index: int) -> Example:
        """Features float32 [length, 1], the ids as numbers; targets the next ids."""
        start, end = self.starts[index], self.starts[index] + self.lengths[index]
        features = self.ids[start:end].astype(np.float32).reshape(-1, 1)
        return Example(features, self.ids[start + 1 : end + 1].tolist())


@dataclass(frozen=True)
class Plays:
    """All roles as windows, those of a role next to each other.

    clients: names of the roles. train_roles, test_roles: int64, for each window its place in
    `clients` (as `groups` of `partitions.by_group`).
    """

    clients: tuple[str, ...]
    train: Windows
    train_roles: Int64Array
    test: Windows
    test_roles: Int64Array


def read_roles(path: Path) -> list[Role]:
    """Read `roles.jsonl.gz`, or the same unpacked, in the order of its lines.

    Raises:
        FedvoiceError: `not-found`; `bad-manifest` with file and line.
    """
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except (EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError) as error:
        raise _bad_roles(str(path), str(error)) from error
    except OSError as error:
        raise FedvoiceError(
            ErrorCode.NOT_FOUND,
            where=str(path),
            got=str(error.strerror or error),
            wanted="roles.jsonl.gz: one JSON object a line",
            next_step="Check the path.",
        ) from error
    roles = [_read_role(fields, where) for where, fields in read_json_lines(text, str(path))]
    if not roles:
        raise _bad_roles(str(path), "no roles")
    names = [role.client_id for role in roles]
    if len(set(names)) < len(names):  # one's text would be lost
        raise _bad_roles(str(path), f"a role twice: {max(names, key=names.count)}")
    return roles


def _read_role(fields: dict[str, Any], where: str) -> Role:
    try:
        client, train, test = str(fields["client"]), fields["train"], fields["test"]
        return Role(client, "\n".join(train), "\n".join(test))
    except (ValueError, KeyError, TypeError) as error:
        raise _bad_roles(where, f"{type(error).__name__}: {error}") from error


def cut_windows(roles: Sequence[Role], unroll: int = UNROLL, characters: str = CHARACTERS) -> Plays:
    """Windows of at most `unroll` steps over every role's train and test text.

    The last window of a text may be shorter; a text of one character has none.

    Raises:
        FedvoiceError: `unknown-token` for a character that is not among `characters`.
    """
    train, train_roles = _windows([(r.client_id, r.train) for r in roles], unroll, characters)
    test, test_roles = _windows([(r.client_id, r.test) for r in roles], unroll, characters)
    return Plays(tuple(r.client_id for r in roles), train, train_roles, test, test_roles)


def _windows(
    texts: Iterable[tuple[str, str]], unroll: int, characters: str
) -> tuple[Windows, Int64Array]:
    """The windows of named texts, and for each the number of its text int64 [n]."""
    ids, starts, lengths, owners = [], [], [], []
    offset = 0
    for number, (name, text) in enumerate(texts):
        encoded = encode(text, characters, name)
        own = np.arange(0, len(encoded) - 1, unroll, dtype=np.int64)
        ids.append(encoded)
        starts.append(own + offset)
        lengths.append(np.minimum(unroll, len(encoded) - 1 - own))
        owners.append(np.full(len(own), number, dtype=np.int64))
        offset += len(encoded)
    windows = Windows(np.concatenate(ids), np.concatenate(starts), np.concatenate(lengths))
    return windows, np.concatenate(owners)


def encode(text: str, characters: str, where: str) -> UInt8Array:
    """Token ids uint8 [n], 1..C, of a text; C is at most 255.

    Raises:
        FedvoiceError: `unknown-token`.
    """
    ids = {character: i for i, character in enumerate(characters, start=1)}
    try:
        return np.array([ids[character] for character in text], dtype=np.uint8)
    except KeyError as error:
        raise FedvoiceError(
            ErrorCode.UNKNOWN_TOKEN,
            where=f"text of {where}",
            got=f"character {error.args[0]!r}",
            wanted=f"one of the task's {len(characters)} characters",
            next_step="Leave the role out, or give the task this character.",
        ) from error


def _bad_roles(where: str, got: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.BAD_MANIFEST,
        where=where,
        got=got,
        wanted="one JSON object a line with client, train and test (lists of lines)",
        next_step="The file is damaged or of another form: fetch it again.",
    )
