"""Thousands of pictures to views of each, and to meshes, over processes or machines."""
