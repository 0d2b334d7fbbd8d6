"""Seconds to an answer of `zero123 serve` with 1, 4 and 16 people at once, requests drawn together against one by one.

    python benchmarks/serving.py [--users 1 4 16] [--requests 48] [--steps 1 20] [--threads N] [--model mini]

Every setting runs on a server process of its own on this machine, which `httpx` asks over the loopback: each person
sends one request for one view, waits for its picture, and sends the next, with another picture, seed and azimuth. CPU
seconds are those of the server and its processes, which other work on the machine disturbs less than the clock.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parent.parent
PICTURES = sorted((ROOT / "examples" / "pictures").glob("*.png"))


@contextmanager
def server(model: str, batch: int, threads: int) -> Iterator[tuple[str, int]]:
    """A server of its own: its address and process."""
    with tempfile.TemporaryDirectory() as jobs:
        command = [sys.executable, "-m", "zero123", "serve", "--port", "0", "--jobs", jobs, "--model", model]
        command += ["--batch", str(batch), "--threads", str(threads), "--queue", "1000"]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT / "src")}
        started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        try:
            assert started.stdout is not None
            found = re.search(r"http://\S+:\d+", started.stdout.readline())
            assert found, "the server did not start"
            with httpx.Client(base_url=found.group(0), trust_env=False) as client:
                while not _ready(client):
                    time.sleep(0.2)
            yield found.group(0), started.pid
        finally:
            started.terminate()
            started.wait()


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def cpu_seconds(pid: int) -> float:
    """Of a process and its children, as Linux counts them."""
    found, ticks = 0.0, os.sysconf("SC_CLK_TCK")
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has just ended
            continue
        if pid in (int(stat.parent.name), int(fields[1])):
            found += (int(fields[11]) + int(fields[12])) / ticks
    return found


async def asked(url: str, users: int, requests: int, steps: int) -> list[float]:
    """Seconds to each answer."""
    seconds: list[float] = []
    left = iter(range(requests))
    async with httpx.AsyncClient(base_url=url, timeout=600, trust_env=False) as client:

        async def person() -> None:
            for k in left:  # whoever is free takes the next
                form = {"seed": k, "steps": steps, "azimuth_deg": 37 * k % 360}
                file = PICTURES[k % len(PICTURES)]
                start = time.monotonic()
                answer = await client.post("/v1/views", data=form, files={"picture": file.read_bytes()})
                answer.raise_for_status()
                seconds.append(time.monotonic() - start)

        await asyncio.gather(*(person() for _ in range(users)))
    return seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--requests", type=int, default=48)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 20])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", default="mini")
    given = parser.parse_args()
    print(
        f"{given.model}, {given.threads} threads, {given.requests} requests each, load {os.getloadavg()[0]:.1f} before"
    )
    print("| steps | people | drawn | median s | p95 s | views / s | CPU s / view |")
    print("|---:|---:|---|---:|---:|---:|---:|")
    for steps in given.steps:
        for batch, name in ((8, "together"), (1, "one by one")):
            with server(given.model, batch, given.threads) as (url, pid):
                asyncio.run(asked(url, 1, len(PICTURES), steps))  # pictures are prepared, for all alike
                for users in given.users:
                    cpu, start = cpu_seconds(pid), time.monotonic()
                    seconds = asyncio.run(asked(url, users, given.requests, steps))
                    wall, cpu = time.monotonic() - start, cpu_seconds(pid) - cpu
                    p95 = statistics.quantiles(seconds, n=20)[-1]
                    numbers = f"{statistics.median(seconds):.2f} | {p95:.2f} | {len(seconds) / wall:.1f}"
                    print(f"| {steps} | {users} | {name} | {numbers} | {cpu / len(seconds):.2f} |", flush=True)


if __name__ == "__main__":
    main()
