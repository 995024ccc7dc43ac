"""The circuits, one component a file."""
