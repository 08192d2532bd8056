"""The laboratory: experiments on quality and cost."""
