"""What phones send: the gRPC service, uploads, reports."""
