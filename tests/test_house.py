"""The house's arrows: who may import whom, and that the server needs no training runtime."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = (
    "protocol",
    "model_export",
    "device_runtime",
    "server",
    "android_harness",
    "laboratory",
    "fedvoice",
)
MAY_IMPORT = {
    "protocol": set(),
    "model_export": {"protocol"},
    "device_runtime": {"protocol"},
    "server": {"protocol"},
    "android_harness": {"protocol", "model_export", "device_runtime", "server"},
    "laboratory": {"protocol", "model_export", "device_runtime", "server", "android_harness"},
}


def imported_packages(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_rooms_import_only_what_the_plan_allows(room):
    paths = sorted((ROOT / room).rglob("*.py"))
    assert paths
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in imported_packages(path)
        if name in ROOMS and name != room and name not in MAY_IMPORT[room]
    }
    assert not wrong


def test_the_server_runs_without_torch_and_executorch():
    script = (
        "import sys; sys.modules['torch'] = None; sys.modules['executorch'] = None\n"
        "import server.app, server.cli, server.service, server.ledger"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_the_command_names_every_subcommand_without_loading_a_runtime():
    script = (
        "import sys\n"
        "from fedvoice.cli import SUBCOMMANDS, load_subcommand\n"
        "for name in SUBCOMMANDS: load_subcommand(name)\n"
        "assert 'torch' not in sys.modules and 'executorch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


@pytest.mark.parametrize("file", ["noniid-gap", "noniid-gap-phones"])
def test_looking_at_an_experiment_loads_no_runtime(file, tmp_path):
    """The parent of its workers has no more imported than this; they load what trains."""
    script = (
        "import sys; sys.modules['torch'] = None; sys.modules['executorch'] = None\n"
        "from fedvoice.cli import main; main()"
    )
    experiment = str(ROOT / "experiments" / f"{file}.toml")
    looking = ["experiment", "run", experiment, "--dry-run", "--cells", str(tmp_path)]
    subprocess.run([sys.executable, "-c", script, *looking], check=True, cwd=ROOT)
