"""Make the message and service stubs from `fedvoice.proto`: `python -m fedvoice.protocol.generate`.

`--check` compares instead of writing and ends with status 1 if the stubs are stale.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.resources import files
from pathlib import Path

PROTOCOL_DIR = Path(__file__).resolve().parent
STUBS = ("fedvoice_pb2.py", "fedvoice_pb2.pyi", "fedvoice_pb2_grpc.py")


def generate(root: Path) -> None:
    """Write `root/fedvoice/protocol/generated/<stubs>`."""
    from grpc_tools import protoc

    # The virtual path makes the stubs import each other as `fedvoice.protocol.generated`.
    arguments = [
        "protoc",
        f"-Ifedvoice/protocol/generated={PROTOCOL_DIR}",
        f"-I{files('grpc_tools') / '_proto'}",
        f"--python_out={root}",
        f"--pyi_out={root}",
        f"--grpc_python_out={root}",
        "fedvoice/protocol/generated/fedvoice.proto",
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc failed: see its message above")


def stale_stubs() -> list[str]:
    """Names of the generated files that differ from what the .proto gives."""
    with tempfile.TemporaryDirectory() as directory:
        generate(Path(directory))
        fresh = Path(directory) / "fedvoice" / "protocol" / "generated"
        kept = PROTOCOL_DIR / "generated"
        return [
            name
            for name in STUBS
            if not (kept / name).is_file()
            or (kept / name).read_bytes() != (fresh / name).read_bytes()
        ]


def main() -> None:
    """Generate, or check with `--check`."""
    if "--check" in sys.argv[1:]:
        stale = stale_stubs()
        if stale:
            raise SystemExit(f"stale stubs: {', '.join(stale)}; run make stubs")
        print("stubs match fedvoice.proto")
    else:
        generate(PROTOCOL_DIR.parent)
        print(f"wrote {', '.join(STUBS)}")


if __name__ == "__main__":
    main()
