"""A graph as a page: laid out, drawn, and marked with what was found."""
