"""From several views of an object to a radiance field and a coloured mesh."""
