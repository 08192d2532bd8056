"""An LSTM with one bias a direction."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class SingleBiasLSTM(nn.LSTM):
    """`nn.LSTM(batch_first=True)` whose second bias is a fixed zero and not a parameter.

    PyTorch adds two biases that always get the same gradient; one is equivalent with half the
    payload, and a program in which two parameters share a gradient cannot be lowered.
    The forget gate's bias starts at one, so that an untrained cell keeps its memory.
    """

    def __init__(
        self, input_size: int, hidden_size: int, layers: int = 1, *, bidirectional: bool = False
    ) -> None:
        super().__init__(
            input_size, hidden_size, layers, batch_first=True, bidirectional=bidirectional
        )
        for name in [n for n, _ in self.named_parameters() if n.startswith("bias_hh")]:
            del self._parameters[name]
            self.register_buffer(name, torch.zeros(4 * hidden_size), persistent=False)
        self._init_flat_weights()
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.startswith("bias_ih"):
                    parameter.zero_()
                    parameter[hidden_size : 2 * hidden_size] = 1.0

    def encode(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Outputs [B, T, D*H] for padded inputs `x` [B, T, I] of `lengths` int64 [B] (frames).

        Outputs for frames past a length are undefined; they affect no other frame, in either
        direction.
        """
        if not self.bidirectional:
            outputs: Tensor = self(x)[0]  # what follows a row's end cannot reach back
            return outputs
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self(packed)[0], batch_first=True, total_length=x.shape[1])[0]
