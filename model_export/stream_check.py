"""Law 8 for streaming methods: on the real runtime, chunk by chunk, they give what the eager model
gives for the whole utterance."""

from __future__ import annotations

import torch
from torch import Tensor

from fedvoice.model_export.gradient_check import Checked, Runs, check_error
from fedvoice.model_export.models.rnnt import RnntModel
from fedvoice.protocol.task import Streaming

OUTPUT_TOLERANCE = 2e-4
"""Largest error of an output, relative to the largest output where that is above 1."""
CHUNKS = 3
LABELS = 4


@torch.no_grad()
def check_streaming(program: Runs, checked: Checked, sizes: Streaming, seed: int = 0) -> float:
    """The largest relative error of the encoder's outputs, the predictions and the logits.

    Raises:
        FedvoiceError: `gradient-check` naming the method.
    """
    error = check_encoder(program, checked, sizes, seed)
    if isinstance(checked.model, RnntModel):
        error = max(error, check_predictor(program, checked, checked.model, sizes, seed))
    return error


def check_encoder(program: Runs, checked: Checked, sizes: Streaming, seed: int) -> float:
    """Several chunks, each from the state of the one before, twice from the start."""
    generator = torch.Generator().manual_seed(seed)
    worst = 0.0
    for _ in range(2):
        shape = (1, CHUNKS * sizes.frames * checked.features.stack, checked.features.mel_bins)
        x = checked.model.random_inputs(shape, generator)
        lengths = torch.tensor([CHUNKS * sizes.frames])
        wanted = checked.model.frame_outputs(checked.stacked(x), lengths)[0]
        state = torch.zeros(sizes.encoder_state)
        got = []
        for chunk in x.chunk(CHUNKS, 1):
            inputs = (*checked.parameters(), chunk.contiguous(), state)
            outputs, after = program.run(sizes.stream_method, inputs)
            state = after.clone()
            got.append(outputs.clone())
        worst = max(worst, _error(torch.cat(got), wanted, sizes.stream_method))
    return worst


def check_predictor(
    program: Runs, checked: Checked, model: RnntModel, sizes: Streaming, seed: int
) -> float:
    """R different label sequences at once, and the logits behind each of their labels."""
    generator = torch.Generator().manual_seed(seed + 1)
    y = torch.randint(1, model.vocabulary_size, (sizes.rows, LABELS), generator=generator)
    wanted = model.predictions(y)
    states = torch.zeros(sizes.rows, sizes.predictor_state)
    worst = 0.0
    for step, tokens in enumerate(torch.nn.functional.pad(y, (1, 0)).T.contiguous()):
        predicted, after = program.run("predict", (*checked.parameters(), tokens, states))
        predictions, states = predicted.clone(), after.clone()
        worst = max(worst, _error(predictions, wanted[:, step], "predict"))
        outputs = torch.randn(sizes.rows, sizes.outputs, generator=generator)
        (logits,) = program.run("join", (*checked.parameters(), outputs, predictions))
        worst = max(worst, _error(logits, model.join(outputs, wanted[:, step]), "join"))
    return worst


def _error(got: Tensor, wanted: Tensor, method: str) -> float:
    error = float((got - wanted).abs().max()) / max(float(wanted.abs().max()), 1.0)
    error = error if error == error else float("inf")
    check_error(error, OUTPUT_TOLERANCE, method)
    return error
