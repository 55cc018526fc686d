"""Neighbouring nodes that are one node or none, a file per kind, for ``merge-chains``.

Each merges at one node with what comes before it, in place: the node takes the input of its
predecessor and does the work of both. So names, outputs and other readers stay as they are.
"""
