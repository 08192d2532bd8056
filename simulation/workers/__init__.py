"""Worker pools: clients are trained in this process, in processes, or on a Ray cluster."""
