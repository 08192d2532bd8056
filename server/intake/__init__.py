"""Receives what clients send: the gRPC service, uploads, reports."""
