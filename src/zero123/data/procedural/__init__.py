"""Unlimited seeded objects for training: `generate(seed)` gives a coloured mesh."""

from zero123.data.procedural.generate import FAMILIES, ObjectSettings, family_of, generate

__all__ = ["FAMILIES", "ObjectSettings", "family_of", "generate"]
