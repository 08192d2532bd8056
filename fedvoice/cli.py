"""The root command: its subcommands live in the package they belong to and load lazily.

A machine that only runs the server needs neither torch nor executorch: a subcommand's module is
imported when it is called (or when its help is asked for), and imports what is heavy inside its
function.
"""

from __future__ import annotations

import errno
import importlib
import logging
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from fedvoice.protocol.errors import (
    ErrorCode,
    FedvoiceError,
    system_error,
)

SUBCOMMANDS: dict[str, str] = {
    "simulate": "fedvoice.simulation.cli:simulate",
    "serve": "fedvoice.server.cli:serve",
    "invite": "fedvoice.server.security.invite:invite",
    "device": "fedvoice.device_runtime.cli:device",
    "export": "fedvoice.model_export.cli:export",
    "evaluate": "fedvoice.simulation.cli:evaluate",
    "report": "fedvoice.laboratory.cli:report",
    "doctor": "fedvoice.doctor:doctor",
    "experiment": "fedvoice.laboratory.cli:experiment",
    "tune": "fedvoice.laboratory.tuning.cli:tune",
    "deploy": "fedvoice.android_harness.deploy.cli:deploy",
    "data": "fedvoice.data.cli:data",
}


def load_subcommand(name: str) -> Any:
    """The click command behind a subcommand's name, imported now."""
    module_name, _, function_name = SUBCOMMANDS[name].partition(":")
    target = getattr(importlib.import_module(module_name), function_name)
    if isinstance(target, typer.Typer):
        return typer.main.get_command(target)
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.command(name)(target)
    return typer.main.get_command(app)


class LazyGroup(TyperGroup):
    """A group that knows its subcommands' names and imports each at its first use."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order in which a newcomer meets them."""
        return list(SUBCOMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import and return one subcommand, or None for an unknown name."""
        return load_subcommand(cmd_name) if cmd_name in SUBCOMMANDS else None


app = typer.Typer(
    cls=LazyGroup, add_completion=False, no_args_is_help=True, rich_markup_mode="rich"
)


@app.callback()
def root() -> None:
    """Train speech recognisers on people's phones; the speech never leaves them.

    Start with [bold]fedvoice simulate[/bold]: a server and a fleet of emulated phones on this
    machine. [bold]fedvoice export[/bold] makes a task package, [bold]fedvoice serve[/bold] runs
    the aggregation server for it, [bold]fedvoice device[/bold] is one phone.
    """


def main() -> None:
    """Entry point: errors end with their four facts on stderr and status 2, Ctrl-C with 130."""
    # torchao's note to its own developers, on every import of the runtime.
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    try:
        app(prog_name="fedvoice")
    except FedvoiceError as error:
        _explain(error)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "fedvoice":
            raise
        _explain(
            FedvoiceError(
                ErrorCode.MISSING_EXTRA,
                where=f"fedvoice {' '.join(sys.argv[1:2])}",
                got=f"no package {error.name!r}",
                wanted="an installation with this command's extra",
                next_step="Install it: pip install 'fedvoice[fleet]' has everything.",
            )
        )
        sys.exit(2)
    except OSError as error:
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _explain(system_error(error))
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _explain(error: FedvoiceError) -> None:
    print(f"fedvoice: {error.code.value} at {error.where}", file=sys.stderr)
    print(f"  got:    {error.got}", file=sys.stderr)
    print(f"  wanted: {error.wanted}", file=sys.stderr)
    print(f"  next:   {error.next_step}", file=sys.stderr)
