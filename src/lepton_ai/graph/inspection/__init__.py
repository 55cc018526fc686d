"""What a graph computes, and what in it is redundant or could run together."""
