"""Tasks for `Worker`, in a module that its process can import."""

import os
import signal
import time
from pathlib import Path

from zero123.images.io import PictureError
from zero123.jobs.workers import cores


def pid(models, report):
    return os.getpid()


def counting(models, report, upto):
    for k in range(upto):
        report(k / upto, f"at {k}", Path(f"{k}.png"))
    return upto


def until_stopped(models, report):
    while True:
        report(0.5, "still here")
        time.sleep(0.02)


def deaf(models, report, seconds):
    report(0.0, "asleep")
    time.sleep(seconds)


def dying(models, report):
    report(0.1, "feeling unwell")
    os.kill(os.getpid(), signal.SIGKILL)


def wrong(models, report, kind):
    if kind == "picture":
        raise PictureError("no object\nin it")
    if kind == "disk":
        raise OSError(28, "No space left on device", "/full/disk")
    if kind == "odd":
        raise KeyError("nothing")
    return lambda: None  # does not pickle


def size_of(models, report, folder):
    first = models(folder, dtype="float32")
    return first.framing.size, models(folder, dtype="float32") is first, len(cores())
