"""The networks: library parts, assembled and conditioned on one picture and a relative camera pose."""
