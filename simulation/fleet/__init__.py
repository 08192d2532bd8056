"""Emulated phones of both kinds and a real server, over gRPC on one machine."""
