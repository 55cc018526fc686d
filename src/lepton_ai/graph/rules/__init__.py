"""The rewrite rules, one file each."""
