"""The durable store: rows, blobs, models, the cost books."""
