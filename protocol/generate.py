"""Make the message and service stubs from `fedvoice.proto`, and the text rule's tables from
Unicode's data: `python -m fedvoice.protocol.generate`.

`--check` compares instead of writing and ends with status 1 if a file is stale.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from fedvoice.protocol import generate_text_tables

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
        stale = stale_stubs() + generate_text_tables.stale()
        if stale:
            raise SystemExit(f"stale files: {', '.join(stale)}; run make stubs")
        print("stubs match fedvoice.proto, text tables match Unicode")
    else:
        generate(PROTOCOL_DIR.parent)
        generate_text_tables.generate()
        print(f"wrote {', '.join(STUBS)} and the text tables")


if __name__ == "__main__":
    main()
