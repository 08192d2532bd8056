"""The disk space that one round needs, checked when a server starts."""

from __future__ import annotations

from fedvoice.protocol.codec import largest_payload_bytes
from fedvoice.protocol.cost import human_bytes
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.server.rounds.job import Job
from fedvoice.server.store.blobs import BlobStore


def round_bytes(job: Job) -> int:
    """Bytes below the quota in a round: program and manifest, weights, and an update for each of
    its places. (The weights it ends with are written whatever the quota says.)"""
    update = largest_payload_bytes(job.plan.update_encoding, job.size)
    task = job.program_blob.size_bytes + job.manifest_blob.size_bytes
    weights = largest_payload_bytes(job.config.download_encoding, job.size)
    return task + weights + job.config.places * update


def check_quota(job: Job, blobs: BlobStore) -> None:
    """Refuse a quota that is too small for a single round.

    Raises:
        FedvoiceError: `store-full`.
    """
    needed = round_bytes(job)
    if blobs.quota_bytes < needed:
        raise FedvoiceError(
            ErrorCode.STORE_FULL,
            where="quota_bytes",
            got=f"{blobs.quota_bytes} ({human_bytes(blobs.quota_bytes)})",
            wanted=f"at least {needed} ({human_bytes(needed)}): one round's weights and the "
            f"updates of the {job.config.places} clients that are asked",
            next_step="Raise quota_bytes, or ask fewer clients a round (cohort_size, "
            "over_selection).",
        )
