"""The reference of a round: the weights as all its clients get them.

Downloads may be float16 or int8. Once a round the weights w, float32 [P], are encoded, and every
client trains from the same decoded reference Q(w); its delta is relative to Q(w). The server adds
the round's step to w itself, never to Q(w), so that nothing is lost: the residual w - Q(w), what
rounding left out of this round's reference, stays in w and is a part of the next one. (Rounding
w, and not the step, needs no memory on phones and none of the phones of the round before; the
residual needs no place of its own, as w is stored anyway.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from fedvoice.protocol.codec import decode, encode
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.parameters import FlatVector


@dataclass(frozen=True)
class Reference:
    """data: what clients download, P = `size` values in `encoding`."""

    data: bytes
    encoding: str
    size: int

    @cached_property
    def weights(self) -> FlatVector:
        """Q(w), float32 [P]: what clients train from."""
        return decode(self.data, self.encoding, self.size, "the reference")


def reference_of(weights: FlatVector, encoding: str) -> Reference:
    """The reference of `weights` float32 [P].

    Raises:
        FedvoiceError: `not-finite` if the encoding cannot hold a value; `bad-encoding`.
    """
    try:
        data = encode(weights, encoding)
    except FedvoiceError as error:
        if error.code is not ErrorCode.NOT_FINITE:
            raise
        raise FedvoiceError(
            ErrorCode.NOT_FINITE,
            where=f'the weights, download_encoding = "{encoding}"',
            got=error.got,
            wanted=error.wanted,
            next_step='Set download_encoding = "float32" and run it again: it resumes here. Lower '
            "rates keep weights small.",
        ) from error
    return Reference(data, encoding, weights.size)
