"""Formats in which views lie on disk, each read as it is."""
