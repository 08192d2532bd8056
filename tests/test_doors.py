"""Everything built in comes through the doors, is what its door wants, and stands in the docs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import fedvoice
from fedvoice.protocol.registry import Registry

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
DOORS: dict[str, tuple[str, ...]] = {
    "datasets": (),
    "partitions": (),
    "model_kinds": ("build",),
    "update_links": ("contract",),
    "server_optimizers": ("init", "apply"),
    "client_rules": ("init", "step"),
    "engines": ("trainer",),
    "worker_pools": (),
    "callbacks": ("began", "round_begins", "round_ended", "ended"),
}
"""What each built-in object, or what its class makes, must have; () of plain callables."""
OPTIONS: dict[str, dict[str, Any]] = {"clip": {"norm": 1.0}, "sgd": {"rate": 0.1}}


def door(name: str) -> Registry[Any]:
    found = getattr(fedvoice, name)
    assert isinstance(found, Registry)
    return found


@pytest.mark.parametrize("name", DOORS)
def test_every_built_in_one_is_what_its_door_wants(name: str) -> None:
    for own in door(name).built_in:
        plugin = door(name).get(own)
        if name in ("update_links", "client_rules", "callbacks"):  # made of options
            plugin = plugin(**OPTIONS.get(own, {}))
        assert all(hasattr(plugin, wanted) for wanted in DOORS[name]), own
        if not DOORS[name]:
            assert callable(plugin), own


@pytest.mark.parametrize("name", DOORS)
def test_the_page_lists_what_is_built_in(name: str) -> None:
    """docs/library.md has a row for each door with every name in it."""
    (row,) = re.findall(rf"^\| `{name}` \|.*$", PAGE, re.MULTILINE)
    built_in = {word.strip() for word in row.split("|")[3].split(",")}
    assert built_in == set(door(name).built_in)


def test_every_door_is_exported_and_has_a_group_of_its_own() -> None:
    registries = {n for n in fedvoice.__all__ if isinstance(getattr(fedvoice, n), Registry)}
    assert registries == set(DOORS)
    assert {door(name).group for name in DOORS} == {f"fedvoice.{name}" for name in DOORS}
