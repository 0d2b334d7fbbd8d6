"""Models that stay loaded and answer many: a process that holds them, and an HTTP service around it."""
