"""The weights as PyTorch's and safetensors' own files, under the person's own names."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from fedvoice.model_export.outgoing.trained import Trained

SAFETENSORS_FILE = "model.safetensors"
STATE_FILE = "model.pt"


def write_state(trained: Trained, out: Path) -> tuple[Path, Path]:
    """The module's whole state, buffers and frozen parameters too: `model.safetensors`, and
    `model.pt`, which `load_state_dict(strict=True)` of the same class takes.

    Tensors that share memory, such as tied weights, are written once for each name.
    """
    state = {
        name: tensor.detach().clone().contiguous()
        for name, tensor in trained.own.state_dict().items()
        if isinstance(tensor, torch.Tensor)
    }
    save_file(state, out / SAFETENSORS_FILE, metadata={"format": "pt"})
    torch.save(state, out / STATE_FILE)
    return out / SAFETENSORS_FILE, out / STATE_FILE
