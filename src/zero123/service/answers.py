"""What is answered: pictures with their cameras as JSON or ZIP, and jobs."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from typing import Any

import torch
from PIL import Image

from zero123.geometry.camera import Camera
from zero123.geometry.orbit import RADIUS, OrbitPose
from zero123.service.job_store import Job
from zero123.service.tasks import ViewsDrawn, ViewsWanted


def manifest(wanted: ViewsWanted, drawn: ViewsDrawn, model: dict[str, Any]) -> dict[str, Any]:
    """How views were drawn, and with which cameras; picture number k is `views[k]`."""
    moves, samples = wanted.made.moves(), wanted.made.sampling.samples
    one = torch.ones(1)
    source = OrbitPose(0 * one, (one * drawn.elevation_deg).deg2rad(), RADIUS * one)
    target, size = source.moved(moves), drawn.pictures[0].size
    cameras = Camera.from_orbit(target, hw=(size[1], size[0]))
    seeds = wanted.made.sampling.seeds(len(moves))
    views = []
    for index, seed in enumerate(seeds):
        view = index // samples
        views.append(
            {
                "file": f"{index:03d}.png",
                "seed": seed,
                "azimuth_deg": round(float(moves.azimuth[view].rad2deg()), 4),
                "elevation_deg": round(float(moves.elevation[view].rad2deg()), 4),
                "radius": round(float(moves.radius[view]), 4),
                "world_from_camera": [[round(v, 6) for v in row] for row in cameras[view].world_from_camera.tolist()],
            }
        )
    return {
        "model": {key: model[key] for key in ("name", "licence")},
        "object": {"found_by": drawn.found_by, "coverage": round(drawn.coverage, 4), "cropped": drawn.cropped},
        "photo": {"elevation_deg": round(drawn.elevation_deg, 3), "elevation_is": drawn.elevation_is},
        "camera": {"axes": "x right, y down, z forward; world z up", "focal": cameras.focal, "width_height": size},
        "views": views,
    }


def as_json(wanted: ViewsWanted, drawn: ViewsDrawn, model: dict[str, Any]) -> dict[str, Any]:
    """The manifest with every picture in it, as base64 of a PNG file."""
    found = manifest(wanted, drawn, model)
    for view, picture in zip(found["views"], drawn.pictures, strict=True):
        view["png"] = base64.b64encode(_png(picture)).decode("ascii")
    return found


def as_zip(wanted: ViewsWanted, drawn: ViewsDrawn, model: dict[str, Any]) -> bytes:
    """A ZIP of the pictures and `manifest.json`."""
    found, packed = manifest(wanted, drawn, model), io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:  # PNG is compressed already
        for view, picture in zip(found["views"], drawn.pictures, strict=True):
            archive.writestr(view["file"], _png(picture))
        archive.writestr("manifest.json", json.dumps(found, indent=1))
    return packed.getvalue()


def as_job(job: Job, keep_s: float) -> dict[str, Any]:
    """A job as its owner sees it, with the ways to what can be done with it."""
    way = f"/v1/jobs/{job.id}"
    return {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "fraction": round(job.fraction, 4),
        "message": job.message,
        "error": job.error,
        "asked": job.asked,
        "created": job.created,
        "ended": job.ended,
        "expires": None if job.ended is None else job.ended + keep_s,
        "events": f"{way}/events",
        "files": {name: f"{way}/files/{name}" for name in job.files},
    }


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, format="PNG", compress_level=1)
    return file.getvalue()
