"""Blobs and uploads on a real disk."""

from __future__ import annotations

import pytest

from fedvoice.protocol.codec import digest_of
from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.server.store.blobs import BlobStore, payload_key

KEY = payload_key("phone", "report")


def test_a_blob_is_known_by_its_digest(tmp_path):
    blobs = BlobStore(tmp_path, 1000)
    digest = blobs.put(b"weights")
    assert digest == digest_of(b"weights") == blobs.put(b"weights")
    assert blobs.path(digest).read_bytes() == b"weights"
    assert blobs.used_bytes == 7
    blobs.remove(digest)
    assert (blobs.path(digest), blobs.used_bytes) == (None, 0)


@pytest.mark.parametrize("digest", ["", "..", "../" * 21 + "x", "A" * 64, "0" * 63 + "/"])
def test_a_digest_is_never_a_path(tmp_path, digest):
    assert BlobStore(tmp_path, 1000).path(digest) is None


def test_an_upload_goes_on_where_it_broke_off_also_after_a_restart(tmp_path):
    with BlobStore(tmp_path, 1000).open_upload("phone", KEY, 0, 6) as upload:
        upload.write(b"abc")
    blobs = BlobStore(tmp_path, 1000)
    assert (blobs.received_bytes(KEY), blobs.used_bytes) == (3, 3)
    with blobs.open_upload("phone", KEY, 3, 6) as upload:
        upload.write(b"def")
        assert upload.digest == digest_of(b"abcdef")
        path = upload.finish()
    assert path.read_bytes() == b"abcdef"
    assert (blobs.received_bytes(KEY), blobs.used_bytes) == (0, 6)


@pytest.mark.parametrize("offset", [2, 4])
def test_an_upload_does_not_go_on_elsewhere(tmp_path, offset):
    blobs = BlobStore(tmp_path, 1000)
    with blobs.open_upload("phone", KEY, 0, 6) as upload:
        upload.write(b"abc")
    with pytest.raises(FedvoiceError, match="ReportStatus"):
        blobs.open_upload("phone", KEY, offset, 6)


def test_an_upload_has_one_writer(tmp_path):
    blobs = BlobStore(tmp_path, 1000)
    with blobs.open_upload("phone", KEY, 0, 6):
        with pytest.raises(FedvoiceError) as caught:
            blobs.open_upload("phone", KEY, 0, 6)
        assert caught.value.code is ErrorCode.EXISTS
    blobs.open_upload("phone", KEY, 0, 6).__exit__(None, None, None)


def test_a_client_has_one_upload_whatever_it_calls_its_reports(tmp_path):
    blobs = BlobStore(tmp_path, 12)
    for number in range(12):
        with blobs.open_upload("phone", payload_key("phone", f"report-{number}"), 0, 6) as upload:
            upload.write(b"abcde")
            with pytest.raises(FedvoiceError) as caught:
                blobs.open_upload("phone", payload_key("phone", "beside"), 0, 6)
            assert caught.value.code is ErrorCode.EXISTS
    assert blobs.used_bytes == 5
    blobs.open_upload("other", payload_key("other", "report"), 0, 6).close()


def test_what_a_client_sent_goes_with_its_lease(tmp_path):
    blobs = BlobStore(tmp_path, 1000)
    with blobs.open_upload("phone", KEY, 0, 6) as upload:
        upload.write(b"abc")
        blobs.drop_upload_of("phone")
        upload.write(b"d")  # its call has not ended yet
    assert blobs.used_bytes == 0
    with blobs.open_upload("phone", KEY, 0, 3) as upload:
        upload.write(b"abc")
        upload.finish()
    blobs.drop_upload_of("phone")  # complete, and too late
    blobs.drop_upload_of("never seen")
    assert (blobs.used_bytes, blobs.payload(KEY).exists()) == (0, False)


def test_what_uploads_under_way_will_need_is_taken_from_the_quota_at_once(tmp_path):
    blobs = BlobStore(tmp_path, 10)
    with blobs.open_upload("phone", KEY, 0, 6) as upload:
        with pytest.raises(FedvoiceError) as caught:
            blobs.open_upload("other", payload_key("other", "report"), 0, 6)
        assert caught.value.code is ErrorCode.NO_SPACE
        upload.write(b"ab")
    # Two bytes are there, four are no longer promised.
    blobs.open_upload("other", payload_key("other", "report"), 0, 6).__exit__(None, None, None)


def test_the_end_of_a_round_frees_payloads_and_broken_uploads_but_not_blobs(tmp_path):
    blobs = BlobStore(tmp_path, 1000)
    digest = blobs.put(b"weights")
    with blobs.open_upload("phone", KEY, 0, 3) as upload:
        upload.write(b"abc")
        upload.finish()
    with blobs.open_upload("broken", payload_key("broken", "report"), 0, 3) as upload:
        upload.write(b"a")
    blobs.remove_files(blobs.round_files())
    assert (blobs.used_bytes, blobs.path(digest) is not None) == (7, True)


def test_phones_cannot_reach_each_others_uploads():
    assert payload_key("ab", "c") != payload_key("a", "bc")
