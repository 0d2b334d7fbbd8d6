"""The command line: `zero123 VERB ...`. Every verb imports what it needs when it runs, so that `--help` is instant."""

from __future__ import annotations

import os
import sys
from typing import NoReturn, cast

import typer

from zero123 import __version__
from zero123.cli import batch, data, doctor, elevation, evaluate, picture, serve, training, ui, weights

app = typer.Typer(
    name="zero123",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
picture.register(app)
elevation.register(app)
batch.register(app)
ui.register(app)
app.add_typer(data.app, name="data")
training.register(app)
evaluate.register(app)
serve.register(app)
app.add_typer(weights.app, name="weights")
doctor.register(app)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"zero123 {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show the version."),
) -> None:
    """From one picture of an object to its other views, and to a coloured 3D mesh. Works offline with `mini`."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


_STOPPED = 130
"""What shells say of a program that was interrupted."""

# Newer typer carries its own click and exports no base class; this is the one of whichever click it uses.
_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[2])


def main() -> NoReturn:
    """Run the command line. A mistake of the person's is said in one line, with exit code 2; nobody sees a traceback.

    Set ZERO123_DEBUG=1 to see where an error comes from.
    """
    try:
        code = app(standalone_mode=False)
        if code == _STOPPED:
            _fail("stopped", _STOPPED)
    except _UsageError as error:
        code = _fail(f"{error.format_message()} (see `zero123 --help`)", 2)
    except (KeyboardInterrupt, typer.Abort):
        code = _fail("stopped", _STOPPED)
    except (ValueError, OSError, ImportError) as error:
        code = _fail(_said(error), 2, error)
    except Exception as error:  # noqa: BLE001  the last fence before the person
        code = _fail(f"unexpected {type(error).__name__}: {error}; set ZERO123_DEBUG=1 to see where", 1, error)
    sys.exit(code if isinstance(code, int) else 0)


def _said(error: Exception) -> str:
    """The error's message; the system's own is told as "FILE: what is wrong", without its number."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _fail(message: str, code: int, error: BaseException | None = None) -> int:
    if error is not None and os.environ.get("ZERO123_DEBUG"):
        raise error
    typer.echo("error: " + " ".join(message.split()), err=True)
    return code
