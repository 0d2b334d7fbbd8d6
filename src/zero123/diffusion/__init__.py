"""Diffusion as maths: noise levels, denoisers, guidance, samplers and the training loss; no networks, no files."""
