"""The verb serve: an HTTP service around one model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from zero123.cli.console import say
from zero123.cli.options import RunOptions, grouped


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(grouped(serve))


@dataclass(frozen=True)
class LimitOptions:
    """How much the service takes on."""

    batch: Annotated[int | None, typer.Option(min=1, help="Pictures of one network call. [default: 8, 32 on GPUs]")] = (
        None
    )
    queue: Annotated[int, typer.Option(min=1, help="Pictures that may wait; more are told to come back.")] = 64
    max_jobs: Annotated[int, typer.Option(min=1, help="Jobs that may wait.")] = 32
    max_mb: Annotated[float, typer.Option(min=0.1, help="Megabytes of a request.")] = 20.0
    max_megapixels: Annotated[float, typer.Option(min=0.1, max=100, help="Of an uploaded picture.")] = 40.0
    max_pictures: Annotated[int, typer.Option(min=1, help="Of one request or job.")] = 64
    max_steps: Annotated[int, typer.Option(min=1, max=1000, help="Sampling steps one may ask for.")] = 200
    request_limit: Annotated[float, typer.Option(min=1, help="Seconds a request for views may take.")] = 120.0
    job_limit: Annotated[float, typer.Option(min=1, help="Seconds a job may take.")] = 1800.0
    keep: Annotated[float, typer.Option(min=1, help="Seconds the results of a job are kept.")] = 3600.0
    grace: Annotated[float, typer.Option(min=0, help="Seconds work has to end when the service is stopped.")] = 30.0


def serve(
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for all the network to see.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for one that is free.")] = 8123,
    jobs: Annotated[Path, typer.Option(help="Folder of jobs and their results.")] = Path("out/service"),
    threads: Annotated[int | None, typer.Option(min=1, help="Cores of each of the two processes.")] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="Web pages that may use it, as https://example.org; repeat for several.")
    ] = None,
    *,
    limits: LimitOptions,
    run: RunOptions,
) -> None:
    """Serve views, orbits and meshes over HTTP; the API's document is at /openapi.json."""
    try:
        from zero123.service.server import serve as serve_until_stopped
    except ImportError as error:
        raise ImportError("serve needs more packages: pip install 'zero123[service]'") from error
    from zero123.service.settings import ServiceSettings

    choice = run.choice().settled(None)
    settings = ServiceSettings(
        folder=jobs,
        model=choice,
        host=host,
        port=port,
        threads=threads,
        batch=limits.batch or (8 if choice.device == "cpu" else 32),
        queue=limits.queue,
        jobs=limits.max_jobs,
        max_bytes=round(limits.max_mb * 1e6),
        max_pixels=round(limits.max_megapixels * 1e6),
        max_pictures=limits.max_pictures,
        max_steps=limits.max_steps,
        request_limit_s=limits.request_limit,
        job_limit_s=limits.job_limit,
        keep_s=limits.keep,
        grace_s=limits.grace,
        origins=tuple(allow_origin or ()),
    )
    serve_until_stopped(settings, say)
