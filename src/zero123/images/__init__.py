"""Pictures: files, transparency, the framing of models, foreground masks, contact sheets and videos."""
