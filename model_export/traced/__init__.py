"""Training programs from any `nn.Module` whose forward gives a loss: traced, rewritten, lowered."""
