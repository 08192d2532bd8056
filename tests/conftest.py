"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# Machines are shared: an example that takes long says nothing about the code.
settings.register_profile("fedvoice", deadline=None)
settings.load_profile("fedvoice")
