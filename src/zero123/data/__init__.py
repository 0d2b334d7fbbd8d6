"""Objects, their renders, and the pairs of views a model learns from."""
