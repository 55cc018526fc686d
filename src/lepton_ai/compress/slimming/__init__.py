"""Channels, heads and whole blocks taken out of a graph."""
