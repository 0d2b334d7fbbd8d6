"""Where cameras stand, what they see, and the paths they take."""
