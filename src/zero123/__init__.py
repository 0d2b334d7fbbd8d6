"""From one picture of an object to any view of it, and to a coloured 3D mesh."""

__version__ = "0.1.0"
