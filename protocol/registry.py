"""The registry of each extension point ("door"): built-in objects and plug-ins, by name.

A plug-in is registered by a decorator, or found by an entry point of the door's group, or named
`module:name`. It travels to workers, servers and phones as `module:name` and is imported anew
there; one that was defined in `__main__` or a notebook serves its own process alone.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import entry_points
from types import FunctionType
from typing import Any, Generic, TypeVar

from fedvoice.protocol.errors import ErrorCode, FedvoiceError

T = TypeVar("T")
_NOT_IMPORTABLE = ("__main__", "__mp_main__")


class Registry(Generic[T]):
    """The registry of one extension point.

    Args:
        door: what is plugged in, for messages: "server optimiser".
        group: of entry points, such as `fedvoice.server_optimizers`.
        built_in: names of built-in objects, as `module:name`, imported at first use.
    """

    def __init__(self, door: str, group: str, built_in: Mapping[str, str] | None = None) -> None:
        self.door, self.group = door, group
        self._built_in = dict(built_in or {})
        self._registered: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: register the decorated object as `name` in this process.

        Raises:
            FedvoiceError: `bad-plugin` for a name that is already taken.
        """
        if ":" in name or not name.strip():
            raise self._bad(repr(name), "a name without a colon", "Choose another name.")

        def keep(plugin: T) -> T:
            taken = self._registered.get(name)
            reference = reference_of(plugin)
            again = taken is plugin or (
                taken is not None and _travels(reference) and reference_of(taken) == reference
            )
            if name in self._built_in or (taken is not None and not again):
                raise self._bad(
                    f"a second {self.door} called {name!r}",
                    "a name that is free",
                    f"Choose another; taken are {', '.join(self.names())}.",
                )
            self._registered[name] = plugin
            return plugin

        return keep

    @property
    def built_in(self) -> list[str]:
        """Names of what fedvoice brings."""
        return sorted(self._built_in)

    def names(self) -> list[str]:
        """All names known in this process: built in, registered or installed."""
        return sorted({*self._built_in, *self._registered, *self._installed()})

    def known(self, name: str) -> str:
        """Return a known name or a `module:name`, for validators of settings; nothing is imported.

        Raises:
            ValueError: for an unknown name.
        """
        if name in self._built_in or ":" in name or name in self.names():
            return name
        raise ValueError(f"must be one of {', '.join(self.names())}, or module:name")

    def get(self, name: str) -> T:
        """The object that `name` stands for.

        Raises:
            FedvoiceError: `bad-plugin` if the name is unknown, or if importing it fails.
        """
        if name in self._registered:
            return self._registered[name]
        reference = self._built_in.get(name) or self._installed().get(name)
        if reference is None and ":" not in name:
            raise self._bad(
                f"{name!r}",
                f"one of {', '.join(self.names())}, or module:name",
                "Correct the name, or install what brings it.",
            )
        found: T = self._import(reference or name, name)
        return found

    def name_of(self, plugin: str | T) -> str:
        """The name by which `get` finds `plugin`: a string as it is, `module:name` for what can be
        imported, else its own name, registered now.

        Raises:
            FedvoiceError: `bad-plugin` if its own name is already taken.
        """
        if isinstance(plugin, str):
            return plugin
        for name, known in self._registered.items():
            if known is plugin:
                return name
        reference = reference_of(plugin)
        if _travels(reference) and self._import(reference, reference) is plugin:
            return reference
        name = reference.rpartition(":")[2].rpartition(".")[2].strip("<>")
        self.register(name)(plugin)
        return name

    def known_as(self, plugin: T) -> str:
        """A name of `plugin` for messages: registered or installed, else `module:name`."""
        reference = reference_of(plugin)
        names = {reference_of(own): name for name, own in self._registered.items()}
        names |= {own: name for name, own in self._installed().items()}
        return names.get(reference, reference)

    def make(self, name: str, options: Mapping[str, Any]) -> Any:
        """What the factory called `name` makes of `options`.

        Raises:
            FedvoiceError: `bad-plugin` as `get`, or if it fails; `bad-config` for options that it
                does not take.
        """
        factory: Any = self.get(name)
        with self.naming(name):
            try:
                return factory(**options)
            except (TypeError, ValueError) as error:
                raise FedvoiceError(
                    ErrorCode.BAD_CONFIG,
                    where=f"{self.door} {name}, options",
                    got=f"{dict(options)} ({error})",
                    wanted=f"options that the {self.door} takes",
                    next_step="Correct the options.",
                ) from error

    def travelling(self, name: str) -> str:
        """The name by which other processes and machines find the same: as it is, or
        `module:name` for what a decorator registered.

        Raises:
            FedvoiceError: `bad-plugin` for what can be imported nowhere else.
        """
        plugin = self._registered.get(name)
        if plugin is None:
            return name
        reference = reference_of(plugin)
        if not _travels(reference) or self._import(reference, reference) is not plugin:
            raise self._bad(
                f"{name!r}, known here as {reference}",
                "an object that other processes can import by module and name",
                "Give it a name in a module of its own and import it from there, or run with one "
                "worker.",
            )
        return reference

    def _installed(self) -> dict[str, str]:
        return {entry.name: entry.value for entry in entry_points(group=self.group)}

    def _import(self, reference: str, name: str) -> Any:
        module, _, attribute = reference.partition(":")
        with self.naming(name):
            found: Any = import_module(module)
            for part in attribute.split("."):
                found = getattr(found, part)
        return found

    @contextmanager
    def naming(self, name: str) -> Iterator[None]:
        """Turn a plug-in's exception in the block into an error naming it; FedvoiceErrors pass."""
        try:
            yield
        except FedvoiceError:
            raise
        except Exception as error:
            if name in self._built_in:
                raise
            raise self._bad(
                f"{type(error).__name__}: {error}{_place_of(error)}",
                f"a {self.door} that works",
                "Correct it there, or install what it needs.",
                name,
            ) from error

    def _bad(self, got: str, wanted: str, next_step: str, name: str = "") -> FedvoiceError:
        return FedvoiceError(
            ErrorCode.BAD_PLUGIN,
            where=f"{self.door} {name}".strip(),
            got=got,
            wanted=wanted,
            next_step=next_step,
        )


def _travels(reference: str) -> bool:
    module, _, attribute = reference.partition(":")
    return module not in _NOT_IMPORTABLE and "<" not in attribute


def reference_of(plugin: object) -> str:
    """`module:name` of a function or a class, or of an instance that a module has a name for; of
    other instances `module:<class>`, which cannot be imported."""
    if isinstance(plugin, type | FunctionType):
        return f"{plugin.__module__}:{plugin.__qualname__}"
    modules = sorted(sys.modules.items(), key=lambda item: item[0] in _NOT_IMPORTABLE)
    for module_name, module in modules:
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if value is plugin:
                return f"{module_name}:{name}"
    return f"{type(plugin).__module__}:<{type(plugin).__qualname__}>"


def _place_of(error: BaseException) -> str:
    """File and line that raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return f", at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
