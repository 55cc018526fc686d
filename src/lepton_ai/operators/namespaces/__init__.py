"""One file per array library that the operators are computed with."""
