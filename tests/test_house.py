"""The house's arrows: who may import whom, and that the server needs no training runtime."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WORDS = ROOT.parent / "shared" / "data" / "words" / "manifest.jsonl"
"""That experiments name: what they would run on is looked at first."""
MAY_IMPORT = {
    "protocol": set(),
    "algorithm": {"protocol"},
    "data": {"protocol"},
    "reporting": {"protocol", "algorithm"},
    "model_export": {"protocol", "data"},
    "device_runtime": {"protocol", "algorithm", "data"},
    "server": {"protocol", "algorithm", "reporting"},
    "android_harness": {"protocol", "data", "device_runtime", "server"},
}
"""The rooms named so far; those below may import all that stand above them."""
MAY_IMPORT["simulation"] = set(MAY_IMPORT)
MAY_IMPORT["laboratory"] = set(MAY_IMPORT)
ROOMS = set(MAY_IMPORT)


def sources(folder: str) -> list[Path]:
    """A room's files, those of its Kotlin tests left out; of `fedvoice` those that lie in it, as
    the rooms are linked there."""
    if folder == "fedvoice":
        return sorted((ROOT / folder).glob("*.py"))
    return [p for p in sorted((ROOT / folder).rglob("*.py")) if "android/e2e" not in str(p)]


def dotted_names(path: Path) -> Iterator[str]:
    """Every module of ours that a file names: imports of all forms, `import_module`, strings
    `fedvoice.room.module` or `fedvoice.room.module:name`, and scripts in strings."""
    parts = path.relative_to(ROOT).parts[:-1]
    yield from dotted_names_of(path.read_text(encoding="utf-8"), parts)


def dotted_names_of(source: str, parts: tuple[str, ...]) -> Iterator[str]:
    """As `dotted_names`, of a file in the folder `parts` below the root."""
    package = parts[1:] if parts[:1] == ("fedvoice",) else parts
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package[: len(package) - node.level + 1]
                base = ".".join(("fedvoice", *above, *([base] if base else [])))
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and called(node) in {"import_module", "__import__"}:
            named = [*node.args[:1], *(k.value for k in node.keywords if k.arg == "name")]
            for value in named:
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield value.value
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value.startswith("fedvoice.")
            and " " not in node.value
        ):
            yield node.value.partition(":")[0]
        elif isinstance(node, ast.Constant) and "import" in str(node.value):
            with suppress(SyntaxError):  # most are no scripts
                yield from dotted_names_of(str(node.value), parts)


def called(node: ast.Call) -> str:
    """The last part of the name of what is called."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def room_of(name: str) -> str | None:
    """The room that a dotted name lies in, if it is one of ours."""
    top, _, rest = name.partition(".")
    room = rest.partition(".")[0]
    return room if top == "fedvoice" and room in ROOMS else None


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_rooms_import_only_what_the_plan_allows(room: str) -> None:
    paths = sources(room)
    assert paths
    wrong = {
        f"{path.relative_to(ROOT)} names {name}"
        for path in paths
        for name in dotted_names(path)
        if room_of(name) not in {None, room, *MAY_IMPORT[room]}
    }
    assert not wrong


@pytest.mark.parametrize("folder", [*sorted(ROOMS), "fedvoice", "tests", "benchmarks", "examples"])
def test_nobody_imports_a_room_by_its_bare_name(folder: str) -> None:
    """`import server` would be another module than `fedvoice.server`, or a user's own."""
    paths = sources(folder)
    assert paths
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in dotted_names(path)
        if name.partition(".")[0] in ROOMS
    }
    assert not wrong


@pytest.mark.parametrize(
    "source",
    [
        "import ROOM.app",
        "from ROOM import app",
        "import importlib; importlib.import_module('ROOM')",
        "from importlib import import_module; import_module(name='ROOM.app')",
        "__import__('ROOM')",
        "SCRIPT = 'import sys; from ROOM.app import main'",
    ],
)
def test_the_laws_see_every_way_to_name_a_module(source: str) -> None:
    assert any(name.partition(".")[0] == "ROOM" for name in dotted_names_of(source, ()))
    assert list(dotted_names_of("from . import cli", ("fedvoice",)))[-1] == "fedvoice.cli"


def test_every_room_is_linked_and_says_what_it_is() -> None:
    for room in ROOMS:
        link = ROOT / "fedvoice" / room
        assert link.is_symlink()
        assert link.resolve() == ROOT / room
        assert ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text()))


def test_the_server_runs_without_torch_and_executorch() -> None:
    script = (
        "import sys; sys.modules['torch'] = None; sys.modules['executorch'] = None\n"
        "import fedvoice.server.app, fedvoice.server.cli\n"
        "import fedvoice.server.intake.service, fedvoice.server.store.ledger"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_the_algorithm_needs_neither_torch_nor_a_store() -> None:
    script = (
        "import pkgutil, importlib, sys\n"
        "for name in ('torch', 'executorch', 'sqlalchemy', 'grpc'): sys.modules[name] = None\n"
        "import fedvoice.algorithm as room\n"
        "names = [m.name for m in pkgutil.walk_packages(room.__path__, 'fedvoice.algorithm.')]\n"
        "assert names\n"
        "for name in names: importlib.import_module(name)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_the_command_names_every_subcommand_without_loading_a_runtime() -> None:
    script = (
        "import sys\n"
        "from fedvoice.cli import SUBCOMMANDS, load_subcommand\n"
        "for name in SUBCOMMANDS: load_subcommand(name)\n"
        "assert 'torch' not in sys.modules and 'executorch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


@pytest.mark.skipif(not WORDS.is_file(), reason=f"no real speech here: {WORDS}")
@pytest.mark.parametrize("file", ["noniid-gap", "noniid-gap-phones"])
def test_looking_at_an_experiment_loads_no_runtime(file: str, tmp_path: Path) -> None:
    """The parent of its workers has no more imported than this; they load what trains."""
    script = (
        "import sys; sys.modules['torch'] = None; sys.modules['executorch'] = None\n"
        "from fedvoice.cli import main; main()"
    )
    experiment = str(ROOT / "experiments" / f"{file}.toml")
    looking = ["experiment", "run", experiment, "--dry-run", "--trials-dir", str(tmp_path)]
    subprocess.run([sys.executable, "-c", script, *looking], check=True, cwd=ROOT)


def modules() -> dict[str, Path]:
    """Every module of the rooms and of `fedvoice/`, by its dotted name."""
    found = {
        f"fedvoice.{path.relative_to(ROOT).with_suffix('').as_posix().replace('/', '.')}": path
        for room in ROOMS
        for path in sources(room)
    }
    found |= {f"fedvoice.{path.stem}": path for path in (ROOT / "fedvoice").glob("*.py")}
    return {name.removesuffix(".__init__"): path for name, path in found.items()}


def imported(path: Path, known: set[str]) -> set[str]:
    """Modules that importing a file imports: not those of functions or of type checkers alone."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            below = {f"{node.module}.{alias.name}" for alias in node.names} & known
            names |= below or {node.module}
    return names & known


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = modules()
    arrows = {name: imported(path, set(known)) - {name} for name, path in known.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"a circle: {' -> '.join((*trail[trail.index(name) :], name))}"
        if name not in done:
            for other in sorted(arrows[name]):
                visit(other, (*trail, name))
            done.add(name)

    for name in sorted(known):
        visit(name, ())
