"""Budget and search space in; recipes tried, the front, and a certificate out."""
