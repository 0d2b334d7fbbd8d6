"""Named endpoints for programs: the same work as the page's, without a session."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from zero123.ui import long_tasks, tasks
from zero123.ui.controls import view_settings, within
from zero123.ui.desk import Desk, object_front
from zero123.ui.layout import picture_input
from zero123.ui.settings import ViewSettings

_CUT_S = 120.0


def add_endpoints(desk: Desk) -> None:
    """`/cut_out`, `/view`, `/orbit`, `/mesh` and `/models`, callable by gradio's clients and by plain HTTP."""
    with gr.Column(visible=False):
        picture = picture_input(label="picture")
        method = gr.Textbox("auto", label="background")
        azimuth, elevation, radius = (gr.Number(0, label=name) for name in ("azimuth", "elevation", "radius"))
        model = gr.Textbox(desk.first.name, label="model")
        steps, scale = gr.Number(desk.first.steps, label="steps"), gr.Number(desk.first.scale, label="scale")
        seed, samples = gr.Number(0, label="seed"), gr.Number(1, label="samples")
        frames, fps, faces = gr.Number(24, label="frames"), gr.Number(12, label="fps"), gr.Number(30_000, label="faces")
        draft = gr.Checkbox(False, label="draft")
        # number fields would give 0 for nothing, which is a height and a front
        height, front = gr.Textbox("", label="photo_elevation"), gr.Textbox("", label="front")
        pictures, answer = gr.File(label="files", file_count="multiple"), gr.JSON(label="models")
        go = [gr.Button() for _ in range(5)]
    work = _Endpoints(desk)
    quick: dict[str, Any] = {"concurrency_id": "quick", "concurrency_limit": 4}
    long: dict[str, Any] = {"concurrency_id": "long", "concurrency_limit": 1}
    drawing, found = [model, steps, scale, seed], [method, height, front]
    go[0].click(work.cut_out, [picture, method], pictures, api_name="cut_out", **quick)
    go[1].click(
        work.view, [picture, azimuth, elevation, radius, *drawing, samples, *found], pictures, api_name="view", **quick
    )
    go[2].click(work.orbit, [picture, frames, elevation, fps, *drawing, *found], pictures, api_name="orbit", **long)
    go[3].click(work.mesh, [picture, faces, draft, *drawing, *found], pictures, api_name="mesh", **long)
    go[4].click(work.models, None, answer, api_name="models", queue=False)


class _Endpoints:
    """What the endpoints do.

    `photo_elevation` is the picture's own height in degrees, "" to have it read; `front`, of an object whose left and
    right are alike, where its front is, degrees to the right of the camera, "" for one of which that is not known.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def cut_out(self, picture: str | None, background: str, request: gr.Request) -> list[str]:
        """The object of a picture, as a PNG with transparency."""
        return [str(self._cut(picture, background, request).file)]

    def view(
        self, picture: str | None, azimuth: float, elevation: float, radius: float, model: str, steps: float,
        scale: float, seed: float, samples: float, background: str, photo_elevation: str, front: str,
        request: gr.Request,
    ) -> list[str]:  # fmt: skip
        """Pictures of one view: degrees to the right and up of the picture's camera, world units further away."""
        wanted = view_settings((azimuth, elevation, radius), (model, steps, scale, seed), samples)
        asked = self._asked(picture, background, wanted, photo_elevation, front, request)
        return [str(file) for file in self.desk.draw(request.session_hash, asked).pictures]

    def orbit(
        self, picture: str | None, frames: float, elevation: float, fps: float, model: str, steps: float, scale: float,
        seed: float, background: str, photo_elevation: str, front: str, request: gr.Request,
    ) -> list[str]:  # fmt: skip
        """A video of a camera that goes once around, and its views in a ZIP."""
        count = within("frames", frames, 3, self.desk.limits.frames)
        rate = within("fps", fps, 1, 60, whole=False)
        wanted = view_settings((0, elevation, 0), (model, steps, scale, seed))
        asked = self._asked(picture, background, wanted, photo_elevation, front, request)
        room = self.desk.room(request.session_hash)
        seconds = self.desk.limits.orbit_s
        made = self._whole(long_tasks.orbit, asked, count, rate, room, seconds=seconds, request=request)
        return [str(made.video), str(made.views)]

    def mesh(
        self, picture: str | None, faces: float, draft: bool, model: str, steps: float, scale: float, seed: float,
        background: str, photo_elevation: str, front: str, request: gr.Request,
    ) -> list[str]:  # fmt: skip
        """The object as GLB, OBJ (ZIP), PLY, dataset (ZIP) and turntable."""
        options = long_tasks.MeshOptions(within("faces", faces, 500, 200_000), draft=bool(draft))
        wanted = view_settings((0, 0, 0), (model, steps, scale, seed))
        asked = self._asked(picture, background, wanted, photo_elevation, front, request)
        room = self.desk.room(request.session_hash)
        made = self._whole(long_tasks.mesh, asked, options, room, seconds=self.desk.limits.mesh_s, request=request)
        return [str(file) for file in (made.glb, made.obj, made.ply, made.dataset, made.turntable)]

    def models(self) -> list[dict[str, Any]]:
        """The models there are: name, whether it is here, size, licence."""
        return [
            {"name": m.name, "here": m.here, "size": m.size, "licence": m.licence, "allows": m.allows}
            for m in self.desk.models.values()
        ]

    def _whole(self, task: Any, *args: Any, seconds: float, request: gr.Request) -> Any:
        job: Any = self.desk.follow(request.session_hash, task, *args, seconds=seconds)
        for _ in job:
            pass
        return job.result

    def _asked(
        self, picture: str | None, background: str, wanted: ViewSettings, photo_elevation: str, front: str,
        request: gr.Request,
    ) -> tasks.Request:  # fmt: skip
        cut = replace(self._cut(picture, background, request), front=object_front(front))
        return self.desk.request(cut, wanted, photo_elevation)

    def _cut(self, picture: str | None, background: str, request: gr.Request) -> tasks.CutOut:
        if picture is None:
            raise gr.Error("A picture is needed.", print_exception=False)
        room, session = self.desk.room(request.session_hash), request.session_hash
        source = self.desk.first.source
        return self.desk.call(session, tasks.cut_out, Path(picture), background, source, room, seconds=_CUT_S)
