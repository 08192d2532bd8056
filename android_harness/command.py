"""What the `python -m fedvoice.android_harness...` commands have in common."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from fedvoice.android_harness.emulation.jars import check_checkout
from fedvoice.protocol.errors import FedvoiceError


def parser_of(module: str, doc: str | None) -> argparse.ArgumentParser:
    """The parser of a module's command; the module's docstring `doc` is its help."""
    return argparse.ArgumentParser(
        prog=f"python -m fedvoice.android_harness.{module}",
        description=(doc or "").strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def exit_status(work: Callable[[], int]) -> int:
    """The status that `work` returns, in a checkout of the project; 1 for an error, which is
    printed."""
    try:
        check_checkout()
        return work()
    except FedvoiceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
