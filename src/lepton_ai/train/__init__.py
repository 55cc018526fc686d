"""The training loop, in its single-process form."""
