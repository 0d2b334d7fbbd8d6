"""Meshes made of one picture, judged against the true ones: shape, turntable, seconds and memory."""
