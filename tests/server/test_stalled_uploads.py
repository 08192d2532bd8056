"""An upload that brings nothing more is ended, and goes on later where it was."""

from __future__ import annotations

import threading
import time

import grpc
import numpy as np
import pytest

from fedvoice.protocol.codec import encode
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.server.intake.patience import StalledError, patient

SIZE = 1024
DELTA = np.ones(SIZE, np.float32)


def test_silence_in_mid_upload_frees_the_handler_and_keeps_what_came(lab):
    server, address = lab.serve(
        lab.package(size=SIZE), rounds=1, cohort_size=1, chunk_timeout_secs=0.3, handler_threads=1
    )
    phone = lab.phone(address, "phone")
    payload = encode(DELTA, "float32")
    header = phone.header(phone.wait_for_work(), payload)
    over = threading.Event()

    def half():
        yield pb.ReportRequest(header=header)
        yield pb.ReportRequest(chunk=pb.Chunk(data=payload[:1000]))
        over.wait(30)

    call = phone.stub.Report.future(half(), timeout=30)
    # There is one handler: this is answered once the stalled call has ended.
    status = phone.stub.ReportStatus(
        pb.ReportStatusRequest(client_id="phone", report_id=header.report_id), timeout=20
    )
    assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    over.set()
    assert status.received_bytes == 1000
    header.offset = 1000
    assert phone.send(header, payload).verdict == pb.VERDICT_ACCEPTED
    assert server.wait_finished(20)


def threads_left() -> int:
    return sum(thread.name == "upload" for thread in threading.enumerate())


def test_messages_come_through_in_order_and_errors_as_they_are():
    assert list(patient(iter(range(100)), 10)) == list(range(100))

    def broken():
        yield 1
        raise KeyError("line")

    messages = patient(broken(), 10)
    assert next(messages) == 1
    with pytest.raises(KeyError):
        next(messages)


def test_no_thread_stays_when_the_reader_leaves_early():
    messages = patient(iter(range(100)), 10)
    assert next(messages) == 0
    messages.close()
    end = time.monotonic() + 20
    while threads_left() and time.monotonic() < end:
        time.sleep(0.01)
    assert threads_left() == 0


def test_silence_is_an_error():
    with pytest.raises(StalledError):
        next(patient(iter(lambda: time.sleep(5), None), 0.01))
