"""What all gRPC handlers share: refusals as statuses, identifiers, threads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from functools import wraps
from typing import Any, TypeAlias, TypeVar

import grpc

log = logging.getLogger("fedvoice.server")

LONGEST_ID = 128
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
T = TypeVar("T")


class RefusedError(Exception):
    """A call that ends with a gRPC status."""

    def __init__(self, code: grpc.StatusCode, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


def answering(
    handler: Callable[[Any, Any, Context], Coroutine[Any, Any, T]],
) -> Callable[[Any, Any, Context], Coroutine[Any, Any, T]]:
    """A handler whose refusals become statuses of the call, and whose faults are told to the log
    and not to the caller."""

    @wraps(handler)
    async def answered(self: Any, request: Any, context: Context) -> T:
        try:
            return await handler(self, request, context)
        except RefusedError as refused:
            await context.abort(refused.code, refused.detail)
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception:
            log.exception("%s failed", handler.__name__)
            await context.abort(grpc.StatusCode.INTERNAL, "the server failed; its log says why")
        raise AssertionError("abort raises")

    return answered


def one_message(
    handler: Callable[[bytes, Context], Coroutine[Any, Any, T]], limit_secs: float
) -> Callable[[object, Context], Coroutine[Any, Any, T]]:
    """A handler of calls of one message each, served as a stream of requests: gRPC would wait for
    the message of an ordinary call without a limit."""

    async def called(_: object, context: Context) -> T:
        try:
            async with asyncio.timeout(limit_secs):
                data = await context.read()
        except TimeoutError:
            await context.abort(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"no message within {limit_secs:g} s"
            )
        if data is grpc.aio.EOF:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a call without its message")
        return await handler(data, context)

    return called


def check_ids(**ids: str) -> None:
    """Raise `RefusedError` unless these are identifiers."""
    for name, value in ids.items():
        if not 0 < len(value) <= LONGEST_ID or not value.isprintable():
            raise RefusedError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"{name}: 1 to {LONGEST_ID} printable characters wanted",
            )


async def in_thread(threads: Executor, work: Callable[[], T]) -> T:
    """`work()` in a thread. A caller that goes away does not stop it."""
    return await asyncio.shield(asyncio.get_running_loop().run_in_executor(threads, work))


def shown_certificate(context: Context) -> bytes | None:
    """The caller's certificate, PEM; None: it showed none. Asked in the loop alone: a thread may
    still run when the call has ended, and then gRPC brings the whole process down."""
    shown = context.auth_context().get("x509_pem_cert", [])
    return shown[0] if shown else None
