"""TLS, put together: the store's authority, the main address for phones that have a certificate,
and the enrolment address for those that have an invitation."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.server.config import ServerConfig
from fedvoice.server.security.admission import Admission
from fedvoice.server.security.authority import Authority, has_authority, make_authority
from fedvoice.server.security.credentials import Credentials
from fedvoice.server.security.enrolment import EnrolService, RenewService
from fedvoice.server.security.listen import bind_secure, certificate_names, enrolment_bind
from fedvoice.server.store.database import Store

_AUTHORITY_META = "authority"
_MOST_ENROLMENTS = 64
_ENROLMENT_OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 64 * 1024),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
]


class Secured:
    """The TLS parts of a server; made in its loop.

    Raises (when made):
        FedvoiceError: `bad-credentials` if the authority is damaged, gone, or not this store's.
    """

    def __init__(self, store: Store, store_dir: Path) -> None:
        self._authority = open_authority(store, store_dir)
        self._credentials = Credentials(store)
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="enrol")
        self.admission = Admission(self._credentials)
        self.enrolment = grpc.aio.server(
            options=_ENROLMENT_OPTIONS, maximum_concurrent_rpcs=_MOST_ENROLMENTS
        )

    def bind(self, server: grpc.aio.Server, config: ServerConfig) -> tuple[str, str]:
        """Give both servers their services and addresses; (main, enrolment) as host:port."""
        authority, credentials = self._authority, self._credentials
        renew = RenewService(authority, credentials, self.admission, self._threads)
        enrol = EnrolService(authority, credentials, time.time, self._threads)
        server.add_generic_rpc_handlers((renew.handlers(),))
        self.enrolment.add_generic_rpc_handlers((enrol.handlers(),))
        names = certificate_names(config.bind, config.names)
        main = bind_secure(server, config.bind, authority, names, phones_only=True)
        beside = enrolment_bind(config.bind, config.enrol_bind, int(main.rpartition(":")[2]))
        enrolling = bind_secure(self.enrolment, beside, authority, names, phones_only=False)
        return main, enrolling

    def close(self) -> None:
        """Take no more work."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def open_authority(store: Store, store_dir: Path) -> Authority:
    """The store's authority; made if the store never had one.

    Raises:
        FedvoiceError: `bad-credentials`.
    """
    known = store.meta().get(_AUTHORITY_META)
    if known is None and not has_authority(store_dir):
        make_authority(store_dir)
    authority = Authority(store_dir)
    if known not in (None, authority.digest):
        raise FedvoiceError(
            ErrorCode.BAD_CREDENTIALS,
            where=str(store_dir / "tls"),
            got="another authority than the one that this store's phones were enrolled under",
            wanted=f"the authority with fingerprint {str(known)[:16]}...",
            next_step="Restore the folder from a backup.",
        )
    if known is None:
        store.set_meta({_AUTHORITY_META: authority.digest})
    return authority
