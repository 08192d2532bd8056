"""The version of the protocol that this release speaks; `fedvoice.proto` states what it means."""

PROTOCOL_VERSION = 1
