"""The verb for the web page."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from zero123.cli.console import say


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(ui)


def ui(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any that is free.")] = 7860,
    model: Annotated[
        list[Path] | None,
        typer.Option(help="Model folder or file that visitors may choose; repeat for several.", show_default=False),
    ] = None,
    upload: Annotated[float, typer.Option(min=0.1, max=200, help="Largest picture, megabytes.")] = 25.0,
    time_limit: Annotated[float, typer.Option(min=10, help="Seconds a mesh may take.")] = 3600.0,
    folder: Annotated[
        Path | None, typer.Option(help="Where its files lie meanwhile. [default: the system's]", show_default=False)
    ] = None,
    browser: Annotated[bool, typer.Option("--browser", help="Open it in the browser.")] = False,
) -> None:
    """Open the web page: any view, an orbit, a mesh, comparisons. Works with no network."""
    try:
        from zero123.ui.desk import Limits
        from zero123.ui.serving import serve
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise ImportError('the page needs an extra: pip install "zero123[ui]"') from error
    limits = Limits(upload=int(upload * 1e6), mesh_s=time_limit, orbit_s=min(time_limit, Limits.orbit_s))
    with serve(host, port, models=tuple(model or ()), limits=limits, folder=folder) as page:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # containers end it so; its folder shall go too
        say(f"{page.address} (Ctrl-C ends it)")
        if browser:
            import webbrowser

            webbrowser.open(page.address)
        while True:
            time.sleep(3600)
