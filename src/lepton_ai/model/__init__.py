"""What a network is to us: its graph, its signature, and what is done before and after it."""
