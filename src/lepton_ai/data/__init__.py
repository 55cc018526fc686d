"""Samples in, scores out: where data comes from, how it is split, and what makes an answer good."""
