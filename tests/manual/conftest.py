"""The program's verbs as tests of the manual need them."""

import pytest
from typer.main import get_command

from zero123.cli import app


def _verbs(command, name):
    if not hasattr(command, "commands"):
        return {name: command}
    return {k: v for part, inner in command.commands.items() for k, v in _verbs(inner, f"{name} {part}").items()}


@pytest.fixture(scope="session")
def program():
    """Every verb by its full name."""
    return _verbs(get_command(app), "zero123")
