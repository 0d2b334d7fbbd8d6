"""The orbit tab: a camera that goes once around, as a video and as pictures."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import gradio as gr

from zero123.ui import long_tasks
from zero123.ui.controls import Controls, view_settings, within
from zero123.ui.desk import Desk, Session
from zero123.ui.layout import facts, progress


class OrbitTab:
    """Lays out the tab; `connect` makes it work."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        with gr.Row(elem_classes="stage"):
            with gr.Column(scale=6, min_width=280):
                self.video = gr.Video(
                    label="Orbit", interactive=False, autoplay=True, loop=True, height=440, elem_id="orbit-video",
                    buttons=["download"],
                )  # fmt: skip
            with gr.Column(scale=5, min_width=280):
                self.now = gr.Image(
                    label="Drawing", interactive=False, height=200, elem_id="orbit-now", elem_classes="now", buttons=[]
                )
                with gr.Group():
                    self.frames = gr.Slider(6, desk.limits.frames, 24, step=1, label="Views in one turn")
                    self.elevation = gr.Slider(-90, 90, 0, step=1, label="Elevation, degrees up from the picture's")
                    self.fps = gr.Slider(1, 30, 12, step=1, label="Views per second")
                with gr.Row():
                    self.go = gr.Button("Make the orbit", variant="primary", elem_id="make-orbit")
                    self.stop = gr.Button("Stop", min_width=70, scale=0)
                self.progress = gr.HTML(elem_id="orbit-progress")
                self.views = gr.DownloadButton("All views, ZIP", interactive=False, elem_id="orbit-zip")

    def connect(self, controls: Controls) -> None:
        """Make it work."""
        self.go.click(
            self.make,
            [controls.session, *controls.drawing.all, controls.elevation, self.frames, self.elevation, self.fps],
            [self.video, self.now, self.progress, self.views],
            concurrency_id="long",
            concurrency_limit=1,
            show_progress="hidden",
            api_visibility="private",
        )
        self.stop.click(self.stopped, queue=False, api_visibility="private", show_progress="hidden")

    def make(
        self, session: Session, model: str, steps: int, scale: float, seed: int, photo: str, frames: int,
        elevation: float, fps: float, request: gr.Request,
    ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        """The orbit, told as it goes."""
        count = within("views in one turn", frames, 3, self.desk.limits.frames)
        rate = within("views per second", fps, 1, 60, whole=False)
        wanted = view_settings((0, elevation, 0), (model, steps, scale, seed))
        asked, room = self.desk.request(session.cut, wanted, photo), self.desk.room(request.session_hash)
        yield gr.skip(), gr.skip(), progress(0, "waiting for its turn"), gr.skip()
        job = self.desk.follow(
            request.session_hash, long_tasks.orbit, asked, count, rate, room, seconds=self.desk.limits.orbit_s
        )
        try:
            for event in job:
                yield gr.skip(), event.picture or gr.skip(), progress(event.fraction, event.message), gr.skip()
        except gr.Error as error:
            yield gr.skip(), gr.skip(), f"<p class='fault'>{escape(str(error.message))}</p>", gr.skip()
            return
        made = job.result
        told = facts([f"{count} views", f"{made.seconds:.0f} s", wanted.model, f"seed {wanted.seed}", made.remark])
        yield made.video, gr.skip(), told, gr.DownloadButton(value=made.views, interactive=True)

    def stopped(self, request: gr.Request) -> None:
        """Stop what runs for this tab."""
        self.desk.stop(request.session_hash)
