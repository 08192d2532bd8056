"""The committed stubs are the ones that the .proto gives."""

from fedvoice.protocol.generate import stale_stubs


def test_stubs_match_the_proto():
    assert stale_stubs() == []
