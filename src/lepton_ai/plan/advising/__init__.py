"""Which method fits: facts of a model, its data and this machine; methods estimated and ranked."""
