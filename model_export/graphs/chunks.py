"""The number of frames that the joint processes at a time."""

from __future__ import annotations

BEST_CHUNKS = (5, 4, 6, 7, 8)
"""Frames of one pass, best first: more of them cost memory, fewer cost time."""


def chunk_frames(frames: int) -> int:
    """Frames of one pass for a bucket of `frames`: a divisor of it."""
    return next((chunk for chunk in BEST_CHUNKS if frames % chunk == 0), frames)


def padded_frames(frames: int) -> int:
    """The least number from `frames` on that a good chunk divides; below 4, itself."""
    while frames >= min(BEST_CHUNKS) and all(frames % chunk for chunk in BEST_CHUNKS):
        frames += 1
    return frames
