"""What is known of a graph's values before it is run: sizes, contents, bounds."""
