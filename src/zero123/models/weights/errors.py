"""The one error of this room: weights that cannot be used, said in one line with what to do about it."""


class WeightsError(ValueError):
    """A checkpoint or model folder cannot be used; the message is one line meant for the person at the keyboard."""
