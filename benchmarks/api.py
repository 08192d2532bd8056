"""What the public API costs to load.

    python -m benchmarks.api --json

Each figure is the median of fresh processes: `import_ms` of `import fedvoice`, `server_import_ms`
of all that a server needs, `help_ms` of `fedvoice --help`, all less `python -c pass`, whose time in
the same run is the reference, `python_ms`; the whole time of each stands beside it as `*_wall_ms`.
`names`: exported names; `examples`: lines of each script in examples/, blank ones left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
COMMANDS = {
    "python": ["-c", "pass"],
    "import": ["-c", "import fedvoice"],
    "server_import": ["-c", "import fedvoice.server.app"],
    "help": ["-m", "fedvoice", "--help"],
}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15, help="fresh processes of each kind")
    parser.add_argument("--json", action="store_true", help="print only a JSON object")
    options = parser.parse_args()
    result = measure(options.runs)
    print(json.dumps(result) if options.json else json.dumps(result, indent=1))


def measure(runs: int) -> dict[str, object]:
    """Medians over `runs` fresh processes of each kind, interleaved."""
    import fedvoice

    took: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(runs):
        for name, command in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
            took[name].append(1000 * (time.perf_counter() - began))
    wall = {name: statistics.median(times) for name, times in took.items()}
    return {
        "names": len(fedvoice.__all__),
        **{f"{n}_ms": round(wall[n] - wall["python"], 1) for n in COMMANDS if n != "python"},
        **{f"{name}_wall_ms": round(secs, 1) for name, secs in wall.items()},
        "examples": {path.stem: lines_of(path) for path in sorted(EXAMPLES.glob("*.py"))},
    }


def lines_of(path: Path) -> int:
    """Lines that are not blank."""
    return sum(bool(line.strip()) for line in path.read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    main()
