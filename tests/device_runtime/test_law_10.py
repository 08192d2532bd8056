"""Speech stays: by type, not by promise."""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from fedvoice.protocol.generated import fedvoice_pb2 as pb

SENT_BY_A_PHONE = (pb.CheckInRequest, pb.FetchRequest, pb.ReportStatusRequest, pb.ReportRequest)

IDENTIFIERS = {
    "CheckInRequest.client_id",
    "CheckInRequest.cached_digests",
    "Capabilities.runtime_version",
    "Capabilities.operators",
    "Capabilities.client_rules",
    "Capabilities.encodings",
    "FetchRequest.digest",
    "FetchRequest.client_id",
    "FetchRequest.assignment_id",
    "ReportStatusRequest.client_id",
    "ReportStatusRequest.report_id",
    "ReportHeader.client_id",
    "ReportHeader.assignment_id",
    "ReportHeader.report_id",
    "Blob.digest",
    "Blob.encoding",
}
"""The only strings: random or given names, digests, versions."""
PAYLOAD = {"Chunk.data"}
"""The only bytes: the float vector, whose size and encoding the server checks."""

NUMBERS = {
    FieldDescriptor.TYPE_BOOL,
    FieldDescriptor.TYPE_ENUM,
    FieldDescriptor.TYPE_UINT32,
    FieldDescriptor.TYPE_UINT64,
    FieldDescriptor.TYPE_DOUBLE,
}


def fields_of(descriptor: Descriptor) -> list[FieldDescriptor]:
    """All fields of a message and of the messages in it."""
    found = []
    for field in descriptor.fields:
        found.append(field)
        if field.message_type is not None:
            found += fields_of(field.message_type)
    return found


def test_law_10_what_leaves_a_phone_cannot_carry_speech() -> None:
    strings, data = set(), set()
    for message in SENT_BY_A_PHONE:
        for field in fields_of(message.DESCRIPTOR):
            name = f"{field.containing_type.name}.{field.name}"
            if field.type == FieldDescriptor.TYPE_STRING:
                strings.add(name)
            elif field.type == FieldDescriptor.TYPE_BYTES:
                data.add(name)
            elif field.type != FieldDescriptor.TYPE_MESSAGE:
                assert field.type in NUMBERS, name
                # One number each: no list of them could be a waveform.
                assert not field.is_repeated, name
    assert strings == IDENTIFIERS
    assert data == PAYLOAD


def test_law_10_every_call_of_the_service_is_covered() -> None:
    service = pb.DESCRIPTOR.services_by_name["Aggregation"]
    assert {m.input_type.name for m in service.methods} == {
        message.DESCRIPTOR.name for message in SENT_BY_A_PHONE
    }
