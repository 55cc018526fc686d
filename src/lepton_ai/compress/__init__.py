"""Smaller and measurably different: one algorithm per file."""
