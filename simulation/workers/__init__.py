"""Worker pools: clients are trained in this process, in others, or on a Ray cluster."""
