"""The 3D tab: the object as a mesh that turns in the browser, and everything it can be downloaded as."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import gradio as gr

from zero123.ui import long_tasks
from zero123.ui.controls import Controls, view_settings, within
from zero123.ui.desk import Desk, Session
from zero123.ui.layout import facts, progress

_FACES = (500, 200_000)


class MeshTab:
    """Lays out the tab; `connect` makes it work."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        with gr.Row(elem_classes="stage"):
            with gr.Column(scale=6, min_width=280):
                self.made = gr.State()
                self.mesh = gr.Model3D(
                    label="Mesh: drag to turn, wheel to zoom", interactive=False, height=470, elem_id="mesh",
                    camera_position=(90, 75, None), clear_color=(0, 0, 0, 0),
                )  # fmt: skip
            with gr.Column(scale=5, min_width=280):
                with gr.Row(elem_classes="pair"):
                    self.turning = gr.Video(
                        label="Turntable", interactive=False, autoplay=True, loop=True, height=190, min_width=120,
                        elem_id="turntable", buttons=[],
                    )  # fmt: skip
                    self.now = gr.Image(
                        label="Its views", interactive=False, height=190, min_width=120, elem_classes="now",
                        buttons=["fullscreen"], elem_id="mesh-now",
                    )  # fmt: skip
                with gr.Group():
                    self.detail = gr.Radio(["Full", "Draft"], value="Full", label="Detail", elem_id="detail")
                    self.faces = gr.Slider(*_FACES, 30_000, step=500, label="Triangles, at most")
                    self.texture = gr.Checkbox(True, label="Texture, as sharp as the picture (else vertex colours)")
                with gr.Row():
                    self.go = gr.Button("Make the mesh", variant="primary", elem_id="make-mesh")
                    self.stop = gr.Button("Stop", min_width=70, scale=0)
                self.progress = gr.HTML(elem_id="mesh-progress")
                with gr.Row(elem_classes="downloads"):
                    names = ("GLB", "OBJ", "PLY", "Dataset")
                    self.files = [
                        gr.DownloadButton(name, interactive=False, min_width=60, size="sm", elem_id=f"get-{name}")
                        for name in names
                    ]

    def connect(self, controls: Controls) -> None:
        """Make it work."""
        making = self.go.click(
            self.make,
            [controls.session, *controls.drawing.all, controls.elevation, self.detail, self.faces, self.texture],
            [self.made, self.turning, self.now, self.progress, *self.files],
            concurrency_id="long",
            concurrency_limit=1,
            show_progress="hidden",
            api_visibility="private",
        )
        # The viewer must be given its file once: twice, as a generator's last answer is, while its own code is still
        # being loaded, and it shows nothing.
        making.success(self.shown, self.made, self.mesh, show_progress="hidden", api_visibility="private")
        self.stop.click(self.stopped, queue=False, api_visibility="private", show_progress="hidden")

    def make(
        self, session: Session, model: str, steps: int, scale: float, seed: int, photo: str, detail: str,
        faces: int, texture: bool, request: gr.Request,
    ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        """The mesh, told as it goes."""
        options = long_tasks.MeshOptions(within("triangles", faces, *_FACES), bool(texture), detail == "Draft")
        wanted = view_settings((0, 0, 0), (model, steps, scale, seed))
        asked, room = self.desk.request(session.cut, wanted, photo), self.desk.room(request.session_hash)
        same = (gr.skip(),) * 4
        yield None, gr.skip(), gr.skip(), progress(0, "waiting for its turn"), *same
        job = self.desk.follow(
            request.session_hash, long_tasks.mesh, asked, options, room, seconds=self.desk.limits.mesh_s
        )
        try:
            for event in job:
                bar = progress(event.fraction, event.message)
                yield gr.skip(), gr.skip(), event.picture or gr.skip(), bar, *same
        except gr.Error as error:
            yield gr.skip(), gr.skip(), gr.skip(), f"<p class='fault'>{escape(str(error.message))}</p>", *same
            return
        made = job.result
        told = facts([f"{made.faces:,} triangles", f"{made.seconds:.0f} s", wanted.model])
        files = [
            gr.DownloadButton(value=file, interactive=True) for file in (made.glb, made.obj, made.ply, made.dataset)
        ]
        yield str(made.glb), made.turntable, made.sheet, told, *files

    @staticmethod
    def shown(made: str | None) -> Any:
        """The mesh in the viewer; if none was made, what is there stays."""
        return gr.skip() if made is None else made

    def stopped(self, request: gr.Request) -> None:
        """Stop what runs for this tab."""
        self.desk.stop(request.session_hash)
