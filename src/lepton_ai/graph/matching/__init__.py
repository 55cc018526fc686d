"""What rules share: the shapes that they look for, and how a graph is rewired."""
