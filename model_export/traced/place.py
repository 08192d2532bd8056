"""Where in the user's code something happens."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

_NOT_THEIRS = (f"{Path(torch.__file__).parent}/", f"{Path(__file__).parents[2]}/", "<")
"""Files of torch, of this package, and code without one."""


def place_in_users_code() -> str:
    """`file:line` of the innermost frame outside torch and fedvoice."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOT_THEIRS):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
