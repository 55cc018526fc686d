"""An artifact with everything that was promised about it, in one folder that cannot be altered."""
