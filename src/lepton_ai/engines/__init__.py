"""Graphs to executables: one engine per file, none of them trusted to be the fastest."""
