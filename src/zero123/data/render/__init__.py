"""Renderers: mesh and camera to picture."""
