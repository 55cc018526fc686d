"""Graph in, equal graph out: analyse, rewrite, and let nothing through that changes an answer."""
