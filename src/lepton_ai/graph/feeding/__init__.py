"""Inputs made up for a graph, within what it accepts."""
