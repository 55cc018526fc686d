"""Executable and samples in, fair and repeatable numbers out. Nothing here prints."""
