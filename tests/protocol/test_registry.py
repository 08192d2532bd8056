"""The registry behind the doors: names, references that travel, plug-ins that fail by name."""

import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.registry import Registry


def rule() -> int:
    return 1


def another() -> int:
    return 2


@pytest.fixture
def door() -> Registry:
    return Registry("rule", "fedvoice.test_rules", {"digest": "fedvoice.protocol.codec:digest_of"})


def test_what_is_built_in_is_imported_when_it_is_asked_for(door):
    from fedvoice.protocol.codec import digest_of

    assert door.get("digest") is digest_of
    assert door.names() == ["digest"]
    assert door.travelling("digest") == "digest"


def test_a_decorated_rule_has_a_name_here_and_a_reference_elsewhere(door):
    assert door.register("mine")(rule) is rule
    assert door.get("mine") is rule
    assert door.names() == ["digest", "mine"]
    assert door.travelling("mine") == f"{__name__}:rule"


def test_a_module_and_a_name_are_enough(door):
    module = ModuleType("a_users_rules")
    module.rule = rule
    sys.modules["a_users_rules"] = module
    assert door.get("a_users_rules:rule") is rule
    assert door.travelling("a_users_rules:rule") == "a_users_rules:rule"


def test_an_entry_point_is_a_name(door, tmp_path, monkeypatch):
    installed = tmp_path / "some_rules-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: some-rules\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[fedvoice.test_rules]\nfar = some_rules:far\n")
    (tmp_path / "some_rules.py").write_text("def far():\n    return 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "far" in door.names()
    assert door.get("far")() == 3


def refused(call, *facts: str) -> None:
    with pytest.raises(FedvoiceError) as caught:
        call()
    assert caught.value.code is ErrorCode.BAD_PLUGIN
    for fact in facts:
        assert fact in str(caught.value)


def test_an_unknown_name_is_told_the_known_ones(door):
    refused(lambda: door.get("mien"), "rule", "'mien'", "digest")


def test_a_module_that_is_not_there_is_named(door):
    refused(lambda: door.get("no_such_module:x"), "no_such_module:x", "ModuleNotFoundError")
    refused(lambda: door.get("fedvoice.protocol.codec:nothing"), "AttributeError")


def test_a_name_is_taken_once(door):
    door.register("mine")(rule)
    door.register("mine")(rule)  # a module that is imported again
    refused(lambda: door.register("mine")(another), "'mine'", "free")
    refused(lambda: door.register("digest")(another), "'digest'")
    refused(lambda: door.register("a:b"), "colon")


def test_what_only_this_process_has_does_not_travel(door):
    door.register("here")(lambda: 0)
    refused(lambda: door.travelling("here"), "'here'", "one worker")

    def in_main() -> None: ...

    in_main.__module__ = "__main__"
    in_main.__qualname__ = "in_main"
    door.register("notebook")(in_main)
    refused(lambda: door.travelling("notebook"), "__main__")


def test_a_plugin_that_fails_names_itself_and_a_built_in_one_shows_its_bug(door):
    with pytest.raises(FedvoiceError, match=r"rule mine.*KeyError"), door.naming("mine"):
        raise KeyError("x")
    with pytest.raises(KeyError), door.naming("digest"):
        raise KeyError("x")
    told = FedvoiceError(ErrorCode.NO_SPACE, where="a", got="b", wanted="c", next_step="d")
    with pytest.raises(FedvoiceError) as caught, door.naming("mine"):
        raise told
    assert caught.value is told


class Scaled:
    def __init__(self, by: float) -> None:
        self.by = by


HALF = Scaled(0.5)


def test_an_instance_travels_by_the_name_that_its_module_has_for_it(door):
    assert door.register("half")(HALF) is HALF
    assert door.travelling("half") == f"{__name__}:HALF"


def test_what_would_be_another_object_elsewhere_is_refused(door):
    """Its class alone, without the arguments it was made with, is something else."""
    for name, plugin in (
        ("third", Scaled(1 / 3)),
        ("bound", Scaled(1.0).__init__),
        ("partial", partial(Scaled, 2.0)),
    ):
        door.register(name)(plugin)
        refused(lambda name=name: door.travelling(name), name, "one worker")
    refused(lambda: door.register("third")(Scaled(0.3)), "'third'", "free")


def test_an_error_says_where_it_was_raised(door):
    with pytest.raises(FedvoiceError, match=rf"{Path(__file__).name}:\d+"), door.naming("mine"):
        raise KeyError("x")
