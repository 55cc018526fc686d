"""The methods that can be advised, one file each."""
