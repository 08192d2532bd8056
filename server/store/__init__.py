"""What is kept: rows, blobs, models, the cost books."""
