"""One error type for everything a user can get wrong or run into.

An error says where it happened, what was got, what was wanted and what to do next, and carries
a stable code; `docs/errors.md` has a line for every code.
"""

from __future__ import annotations

import errno
from enum import StrEnum
from pathlib import Path


class ErrorCode(StrEnum):
    """Stable error codes, explained in `docs/errors.md`."""

    BAD_CONFIG = "bad-config"
    BAD_PLUGIN = "bad-plugin"
    BAD_MANIFEST = "bad-manifest"
    MISSING_AUDIO = "missing-audio"
    UNREADABLE_AUDIO = "unreadable-audio"
    WRONG_SAMPLE_RATE = "wrong-sample-rate"
    TOO_LITTLE_USABLE = "too-little-usable"
    EMPTY_TRANSCRIPT = "empty-transcript"
    UNKNOWN_TOKEN = "unknown-token"
    UNSUPPORTED_TEXT = "unsupported-text"
    BAD_PACKAGE = "bad-package"
    WRONG_DIGEST = "wrong-digest"
    WRONG_SHAPE = "wrong-shape"
    BAD_ENCODING = "bad-encoding"
    NOT_FINITE = "not-finite"
    SILENT = "silent"
    NO_UPDATES = "no-updates"
    GRADIENT_CHECK = "gradient-check"
    RELEASE_CHECK = "release-check"
    MISSING_OPERATOR = "missing-operator"
    MISSING_EXTRA = "missing-extra"
    SERVER_UNREACHABLE = "server-unreachable"
    SERVER_REJECTED = "server-rejected"
    BAD_CREDENTIALS = "bad-credentials"
    ADDRESS_IN_USE = "address-in-use"
    NO_SPACE = "no-space"
    NOT_WRITABLE = "not-writable"
    STORE_FULL = "store-full"
    DEVICE_LOST = "device-lost"
    DEVICE_UNFIT = "device-unfit"
    DEVICE_REFUSED = "device-refused"
    CLIENT_LOST = "client-lost"
    EXISTS = "exists"
    NOT_FOUND = "not-found"


class FedvoiceError(Exception):
    """An error: where it happened, what was found, what is valid and what to do next.

    Args:
        code: stable name, one of `ErrorCode`.
        where: file, field, address or method concerned.
        got: what was found there.
        wanted: what would have been right.
        next_step: what the person should do now.
    """

    def __init__(
        self, code: ErrorCode, *, where: str, got: str, wanted: str, next_step: str
    ) -> None:
        self.code = code
        self.where = where
        self.got = got
        self.wanted = wanted
        self.next_step = next_step
        super().__init__(f"{where}: got {got}, wanted {wanted}. {next_step} [{code.value}]")

    def __reduce__(self) -> tuple[object, ...]:
        # Without this, exceptions with keyword-only arguments cannot be unpickled: they would not
        # come back from a worker process.
        return (_rebuild, (self.code, self.where, self.got, self.wanted, self.next_step))


def _rebuild(code: ErrorCode, where: str, got: str, wanted: str, next_step: str) -> FedvoiceError:
    return FedvoiceError(code, where=where, got=got, wanted=wanted, next_step=next_step)


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_full(error: OSError) -> bool:
    """Whether the error means that space ran out: full disk, quota or size limit."""
    return error.errno in _FULL


def system_error(error: OSError) -> FedvoiceError:
    """An `OSError` as a `FedvoiceError` with code `no-space` or `not-writable`."""
    facts = f"{error.strerror or error}"
    where = str(error.filename or "a file")
    if is_full(error):
        return FedvoiceError(
            ErrorCode.NO_SPACE,
            where=where,
            got=facts,
            wanted="room on the disk",
            next_step="Free some space and run the same command again.",
        )
    return FedvoiceError(
        ErrorCode.NOT_WRITABLE,
        where=where,
        got=facts,
        wanted="a file or folder that can be read, made and written there",
        next_step="Check the path and its permissions, or choose another.",
    )


def missing_extra(extra: str, *, where: str, got: str, wanted: str) -> FedvoiceError:
    """`missing-extra` for a package that an extra of fedvoice installs."""
    return FedvoiceError(
        ErrorCode.MISSING_EXTRA,
        where=where,
        got=got,
        wanted=wanted,
        next_step=f"Install it: pip install 'fedvoice[{extra}]'.",
    )


def make_folder(path: Path) -> None:
    """Create the folder `path` and check that files can be written into it.

    Raises:
        FedvoiceError: `not-writable`, `no-space`.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)  # another command may look at the same moment
    except OSError as error:
        raise system_error(error) from error
