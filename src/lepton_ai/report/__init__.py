"""Records in, one self-contained page out: pure functions, one section per file."""
