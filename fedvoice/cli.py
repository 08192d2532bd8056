"""The root command. Subcommands are defined in the rooms they belong to and imported lazily.

A machine that only runs the server needs neither torch nor executorch: a subcommand's module is
imported when it is called or its help is shown, and heavy imports are inside its function.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from fedvoice.protocol.errors import FedvoiceError, is_full, missing_extra, system_error


class Subcommand(NamedTuple):
    """A subcommand: its module, its line in the list, and the extra that it requires with modules
    by which to check that the extra is installed."""

    target: str
    help: str
    extra: str = ""
    modules: tuple[str, ...] = ()


SUBCOMMANDS: dict[str, Subcommand] = {
    "simulate": Subcommand(
        "fedvoice.simulation.cli:simulate",
        "A server and a fleet of emulated phones on this machine train one recogniser.",
        "fleet",
        ("executorch", "soundfile", "matplotlib"),
    ),
    "serve": Subcommand(
        "fedvoice.server.cli:serve",
        "Run the aggregation server for one task until its rounds are done.",
    ),
    "invite": Subcommand(
        "fedvoice.server.security.invite:invite",
        "Make invitations with which phones are enrolled, one phone each.",
    ),
    "device": Subcommand(
        "fedvoice.device_runtime.cli:device",
        "Run one phone's runtime against a server until the server has finished.",
        "device",
        ("executorch",),
    ),
    "export": Subcommand(
        "fedvoice.model_export.cli:export",
        "Export a model as a task package that phones can train.",
        "export",
        ("executorch", "torchaudio"),
    ),
    "merge": Subcommand(
        "fedvoice.model_export.merging:merge",
        "Write the whole model of a task of which only a part trained.",
        "export",
        ("torch",),
    ),
    "evaluate": Subcommand(
        "fedvoice.simulation.cli:evaluate",
        "Word and character error rates of a model on a manifest, greedy, in percent.",
        "device",
        ("soundfile", "jiwer"),
    ),
    "release": Subcommand(
        "fedvoice.model_export.outgoing.cli:release",
        "Write a trained model for PyTorch, ONNX, sherpa-onnx and ExecuTorch.",
        "release",
        ("executorch", "torchaudio", "onnxscript"),
    ),
    "transcribe": Subcommand(
        "fedvoice.device_runtime.recognition.cli:transcribe",
        "Recognise a recording or standard input chunk by chunk, with partial results.",
        "device",
        ("executorch", "soundfile"),
    ),
    "report": Subcommand(
        "fedvoice.laboratory.cli:report",
        "Write report.html again from the results in each run's folder.",
        "fleet",
        ("matplotlib",),
    ),
    "doctor": Subcommand(
        "fedvoice.doctor:doctor",
        "What this machine can do: simulations, emulated Android phones, apps, deployment.",
    ),
    "experiment": Subcommand(
        "fedvoice.laboratory.cli:experiment",
        "Experiments on quality and cost: grids of simulated trials as TOML files.",
        "fleet",
        ("soundfile", "matplotlib"),
    ),
    "tune": Subcommand(
        "fedvoice.laboratory.tuning.cli:tune",
        "Search for plans with two objectives, error rate and CFMQ, with Optuna.",
        "fleet",
        ("soundfile", "optuna"),
    ),
    "deploy": Subcommand(
        "fedvoice.android_harness.deploy.cli:deploy",
        "Install the app on phones and emulators, enrol them, and start a first session.",
    ),
    "data": Subcommand(
        "fedvoice.data.cli:data",
        "Make manifests (NeMo style) from corpora on disk, or synthesise a corpus.",
    ),
}
"""In the order of first use."""


def load_subcommand(name: str) -> Any:
    """The click command behind a subcommand's name, imported now."""
    module_name, _, function_name = SUBCOMMANDS[name].target.partition(":")
    target = getattr(importlib.import_module(module_name), function_name)
    if isinstance(target, typer.Typer):
        return typer.main.get_command(target)
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.command(name)(target)
    return typer.main.get_command(app)


class LazyCommand(TyperCommand):
    """A subcommand that the list of `fedvoice --help` shows; imported when it is called."""

    def __init__(self, name: str) -> None:
        super().__init__(name, help=SUBCOMMANDS[name].help, short_help=SUBCOMMANDS[name].help)

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """The context of the imported command."""
        from importlib.util import find_spec

        name = str(self.name)
        for module in SUBCOMMANDS[name].modules:
            if find_spec(module) is None and "--help" not in sys.argv:
                raise _lacking(name, module)
        return load_subcommand(name).make_context(*arguments, **options)


class LazyGroup(TyperGroup):
    """A group that lists its subcommands and imports each when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of first use."""
        return list(SUBCOMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """One subcommand, or None for an unknown name."""
        return LazyCommand(cmd_name) if cmd_name in SUBCOMMANDS else None


# Plain: rich takes longer to load than all of `fedvoice --help`.
app = typer.Typer(cls=LazyGroup, no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def root() -> None:
    """Train speech recognisers on people's phones; the speech never leaves them.

    Start with `fedvoice simulate`: a server and a fleet of emulated phones on this machine.
    `fedvoice export` makes a task package, `fedvoice serve` runs the aggregation server for it,
    `fedvoice device` is one phone. Each has its own --help.
    """


def main() -> None:
    """Entry point: errors end with their four facts on stderr and status 2, Ctrl-C with 130."""
    # torchao's note to its own developers, on every import of the runtime.
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    # Last, so that nothing of ours is hidden: a person's own module is named from where they stand.
    sys.path.append(os.getcwd())
    try:
        app(prog_name="fedvoice")
    except FedvoiceError as error:
        _explain(error)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "fedvoice":
            raise
        name = sys.argv[1] if len(sys.argv) > 1 else ""
        _explain(_lacking(name, error.name))
        sys.exit(2)
    except OSError as error:
        if error.filename is None and not is_full(error):
            raise
        _explain(system_error(error))
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _lacking(name: str, module: str) -> FedvoiceError:
    extra = SUBCOMMANDS[name].extra if name in SUBCOMMANDS else ""
    return missing_extra(
        extra or "fleet",
        where=f"fedvoice {name}",
        got=f"no package {module!r}",
        wanted="an installation with this command's extra",
    )


def _explain(error: FedvoiceError) -> None:
    print(f"fedvoice: {error.code.value} at {error.where}", file=sys.stderr)
    print(f"  got:    {error.got}", file=sys.stderr)
    print(f"  wanted: {error.wanted}", file=sys.stderr)
    print(f"  next:   {error.next_step}", file=sys.stderr)
