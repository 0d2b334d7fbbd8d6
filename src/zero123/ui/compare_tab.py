"""The compare tab: one camera, two models or settings, side by side."""

from __future__ import annotations

from typing import Any

import gradio as gr

from zero123.ui.controls import Controls, DrawingControls, view_settings
from zero123.ui.desk import Desk, Session
from zero123.ui.layout import facts


class CompareTab:
    """Lays out the tab; `connect` makes it work."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.sides = []
        gr.HTML(facts(["Both are drawn from the camera of the View tab."]))
        with gr.Row(elem_classes="stage"):
            for name in ("A", "B"):
                with gr.Column(min_width=280):
                    picture = gr.Image(
                        label=name, interactive=False, height=360, elem_id=f"side-{name}", elem_classes="large",
                        buttons=["download", "fullscreen"],
                    )  # fmt: skip
                    told = gr.HTML()
                    with gr.Group():
                        self.sides.append((DrawingControls.lay_out(desk), picture, told))
        self.go = gr.Button("Draw both", variant="primary", elem_id="draw-both")

    def connect(self, controls: Controls, move: list[Any]) -> None:
        """Make it work."""
        (left, a, told_a), (right, b, told_b) = self.sides
        inputs = [controls.session, *move, controls.elevation]
        quick: dict[str, Any] = {"concurrency_id": "quick", "concurrency_limit": 4, "api_visibility": "private"}
        self.go.click(self.draw, [*inputs, *left.all], [a, told_a], show_progress_on=a, **quick)
        self.go.click(self.draw, [*inputs, *right.all], [b, told_b], show_progress_on=b, **quick)

    def draw(
        self, session: Session, azimuth: float, elevation: float, radius: float, photo: str, model: str,
        steps: int, scale: float, seed: int, request: gr.Request,
    ) -> tuple[Any, str]:  # fmt: skip
        """One side."""
        wanted = view_settings((azimuth, elevation, radius), (model, steps, scale, seed))
        drawn = self.desk.draw(request.session_hash, self.desk.request(session.cut, wanted, photo))
        parts = [wanted.model, f"{wanted.steps} step{'s' * (wanted.steps > 1)}", f"guidance {wanted.scale:g}"]
        parts += [f"seed {wanted.seed}", f"{drawn.seconds:.1f} s", drawn.remark]
        return drawn.pictures[0], facts([wanted.words, *parts])
