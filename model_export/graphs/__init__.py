"""Training steps, decoders and the front end, written out as graphs for lowering."""
