"""Architectures that people deploy, with random weights, exported the way their owners do it.

Each entry is a function of ``small``: with it, a network of the same operators that a test can
afford; without it, the size that is deployed.
"""

from zoo.export import Architecture, architectures, export

__all__ = ["Architecture", "architectures", "export"]
