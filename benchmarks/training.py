"""Pairs per second, share of the hardware's peak and memory of training; what 2 processes add; a killed run resumed.

    python benchmarks/training.py [--models mini stand-in full] [--device cpu|cuda] [--processes 1 2] [--kill]

`full` is the released shape, 860M parameters in its UNet, trained as the original was (encoders frozen); `stand-in` is
the same with narrow layers, for CPUs. Weights and pictures are random, latents precomputed: speed does not mind. Every
row runs in processes of its own; its figures are those of the steps after the first ones. A pair's operations are
counted once, without what checkpointing computes again. `--kill` ends one of two processes by SIGKILL, resumes, and
compares every line of metrics with those of a run that was left alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from zero123.data.pairs import PairSampler
from zero123.data.view_cache import ViewCache
from zero123.models.view_model import ViewModel
from zero123.models.view_settings import ViewModelSettings
from zero123.presets import MINI_TRAINING, ORIGINAL_TRAINING, mini_codec, mini_model
from zero123.training import trainer
from zero123.training.parallel import StopSign, accelerator_for

WIDTHS = {"full": (320, 640, 1280, 1280), "stand-in": (32, 64, 128, 128)}
BATCHES = {"cpu": {"mini": 32, "stand-in": 8, "full": 1}, "cuda": {"mini": 512, "stand-in": 192, "full": 64}}
MEASURED = ("seconds", "pairs_per_second", "share_of_peak", "memory_gb")


def released_shape(widths: tuple[int, ...], device: str) -> ViewModel:
    """A model of the released kind with random weights: pooled CLIP token, 4-channel latents of 256² pictures."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from zero123.models.autoencoder import Autoencoder
    from zero123.models.image_encoder import ImageEncoder
    from zero123.models.pose_conditioning import PoseConditioning

    whole, levels = widths[0] == 320, len(widths)
    vision = CLIPVisionConfig(
        hidden_size=1024 if whole else 64,
        intermediate_size=4096 if whole else 256,
        num_hidden_layers=24 if whole else 2,
        num_attention_heads=16 if whole else 2,
        patch_size=14,
        projection_dim=768,
    )
    with torch.device(device):
        coder = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512) if whole else (32, 32, 32, 32),
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            layers_per_block=2,
            latent_channels=4,
        )
        unet = UNet2DConditionModel(
            sample_size=32, in_channels=8, block_out_channels=widths, cross_attention_dim=768, attention_head_dim=8
        )
        sight, pose = CLIPVisionModelWithProjection(vision), PoseConditioning()
    settings = ViewModelSettings()
    encoder = ImageEncoder(sight, settings.tokens)
    autoencoder = Autoencoder(coder, settings.latent_scale, settings.scale_condition)
    return ViewModel(unet, autoencoder, encoder, pose, None, settings)


def build(name: str, device: str) -> tuple[ViewModel, PairSampler]:
    """A model on its device and pairs of random views for it."""
    torch.manual_seed(0)
    model = mini_model(mini_codec()) if name == "mini" else released_shape(WIDTHS[name], device)
    views, size = 64, model.settings.image_size
    images = torch.randint(0, 256, (views, 3, size, size), dtype=torch.uint8).numpy()
    latents = torch.randn(views, 2, *model.latent_shape).half().numpy()
    poses = (torch.rand(views, 3) * torch.tensor([6.0, 2.0, 0.7]) + torch.tensor([-3.0, -0.8, 1.5])).numpy()
    cache = ViewCache(images, latents, poses, (torch.arange(9) * 8).numpy())
    # as runs/mini_cpu.sh has it: four targets an input, whose pictures train the volume
    return model, PairSampler([cache], [1.0], targets=4 if name == "mini" else 1, pictures=name == "mini")


def measure(job: dict) -> None:
    """One row, in one of its processes: the first one prints the figures as JSON."""
    threads = job["threads"]
    torch.set_num_threads(threads)
    settings = MINI_TRAINING if job["model"] == "mini" else replace(ORIGINAL_TRAINING, precision="bf16")
    own = {name: job[name] for name in ("batch", "checkpointing", "sharded")}
    settings = replace(settings, steps=10**6, **own)
    with tempfile.TemporaryDirectory() as folder:
        accelerator = accelerator_for(settings, Path(folder))
        model, sampler = build(job["model"], job["device"])
        run = trainer._Run(accelerator, model, settings, Path(folder), sampler)
        run.begin(None, settings)
        with StopSign() as stop:
            for _ in range(job["warm"]):
                run.step(stop)
            run.speed.take()
            for _ in range(job["steps"]):
                run.step(stop)
        if accelerator.is_main_process:
            print("RESULT " + json.dumps(run.speed.take()), flush=True)
        run.sampler.close()


def keep_training(job: dict) -> None:
    """A short run for `--kill`; each process leaves its number in the folder."""
    torch.set_num_threads(1)
    folder = Path(job["folder"])
    model, sampler = build("stand-in", "cpu")
    often = {"save_every": 4, "log_every": 1, "sample_every": 0, "validate_every": 0, "keep_best": 0}
    settings = replace(ORIGINAL_TRAINING, steps=12, batch=2, **often)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"process-{os.environ['RANK']}").write_text(str(os.getpid()))
    try:
        trainer.train(model, sampler, folder, settings)
    except OSError as error:
        print(f"error: {error}", flush=True)
        sys.exit(2)


def start(job: dict, processes: int) -> subprocess.Popen[str]:
    """The job in so many processes under torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(job.get("threads", 1)), "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.Popen(
        [*command, __file__, "--worker", json.dumps(job)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
    )  # fmt: skip


def row(job: dict, processes: int) -> None:
    """Print one row of the table."""
    output, _ = start(job, processes).communicate()
    found = [line for line in output.splitlines() if line.startswith("RESULT ")]
    if not found:
        sys.exit(f"{job} failed:\n{output}")
    figures = json.loads(found[0].removeprefix("RESULT "))
    share = "?" if figures["share_of_peak"] is None else f"{figures['share_of_peak']:.1%}"
    spread = "sharded" if job["sharded"] else "copied"
    print(
        f"| {job['model']} | {processes} x {job['threads']} | {spread if processes > 1 else ''} | {job['batch']} | "
        f"{'on' if job['checkpointing'] else 'off'} | {figures['pairs_per_second']:.4g} | {share} | "
        f"{figures['memory_gb']:.3g} |",
        flush=True,
    )


def lines(folder: Path) -> list[dict]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in MEASURED} for line in found]


def kill_and_resume() -> None:
    """Print what happens to a run of two processes one of which is killed."""
    with tempfile.TemporaryDirectory() as temporary:
        whole, killed = Path(temporary) / "whole", Path(temporary) / "killed"
        start({"folder": str(whole)}, 2).communicate()
        running = start({"folder": str(killed)}, 2)
        while running.poll() is None and not (killed / "checkpoints" / "step-00000004").is_dir():
            time.sleep(0.05)
        os.kill(int((killed / "process-1").read_text()), signal.SIGKILL)
        when = time.perf_counter()
        output, _ = running.communicate()
        seconds, reached = time.perf_counter() - when, len(lines(killed))
        print(
            f"process 1 was killed after the checkpoint of step 4; all ended {seconds:.1f} s later, at step {reached}:"
        )
        print("  " + next((line for line in output.splitlines() if line.startswith("error: ")), "no line!"))
        when = time.perf_counter()
        start({"folder": str(killed)}, 2).communicate()
        same = lines(killed) == lines(whole)
        print(f"resumed to step 12 in {time.perf_counter() - when:.1f} s, start included;", end=" ")
        print("every line of metrics is that of the run never killed" if same else "METRICS DIFFER")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["mini", "stand-in"], choices=["mini", *WIDTHS])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--processes", nargs="+", type=int, default=[1])
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--batches", nargs="+", type=int, help="pairs per step and process")
    parser.add_argument("--checkpointing", nargs="+", default=["off"], choices=["on", "off"])
    parser.add_argument("--sharded", action="store_true")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warm", type=int, default=3)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        job = json.loads(asked.worker)
        return measure(job) if "model" in job else keep_training(job)
    if asked.kill:
        return kill_and_resume()
    print("| model | processes x threads | parameters | batch | checkpointing | pairs/s | share of peak | memory, GB |")
    print("|---|---|---|---|---|---|---|---|")
    same = {name: getattr(asked, name) for name in ("device", "threads", "sharded", "steps", "warm")}
    for model, processes, kept in itertools.product(asked.models, asked.processes, asked.checkpointing):
        for batch in asked.batches or [BATCHES[asked.device][model]]:
            row({**same, "model": model, "batch": batch, "checkpointing": kept == "on"}, processes)
    return None


if __name__ == "__main__":
    main()
