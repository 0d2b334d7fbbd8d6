"""The command line's verbs as Python functions, for notebooks and scripts; their results show themselves."""
