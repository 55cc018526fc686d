"""A bundle to a server: the Open Inference Protocol for programs, plain JSON for people."""
