"""Training: the loop, its state, and the codec of small models."""
