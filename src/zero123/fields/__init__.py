"""Radiance fields: a dense voxel field, volume rendering, and the losses that shape a field."""
