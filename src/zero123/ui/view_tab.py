"""The first tab: one view, its camera, its samples, and where they differ."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import gradio as gr

from zero123.ui.controls import Controls, view_settings
from zero123.ui.desk import Desk, Session
from zero123.ui.drawings import Entry
from zero123.ui.layout import PRESETS, camera_plot, facts, slider
from zero123.ui.settings import RANGES, ViewSettings
from zero123.ui.tasks import Drawn

_FEW_SAMPLES = 4
_AGREED = 0.01


class ViewTab:
    """Lays out the tab; `connect` makes it work."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        start = ViewSettings()
        with gr.Row(elem_classes="stage"):
            with gr.Column(scale=6, min_width=280):
                self.result = gr.Image(
                    label="View", interactive=False, height=540, elem_id="result", buttons=["download", "fullscreen"]
                )
                self.samples = gr.Gallery(
                    label="Samples", columns=8, rows=1, height=126, visible=False, allow_preview=False,
                    elem_id="samples", buttons=[],
                )  # fmt: skip
                self.facts = gr.HTML(elem_id="facts")
            with gr.Column(scale=5, min_width=280):
                self.plot = camera_plot()
                with gr.Row(elem_classes="presets"):
                    self.presets = [gr.Button(name, size="sm", min_width=40) for name in PRESETS]
                    self.random = gr.Button("Random", size="sm", min_width=40)
                with gr.Group():
                    self.azimuth = slider("azimuth", "Azimuth, degrees to the right", start.azimuth)
                    self.elevation = slider("elevation", "Elevation, degrees up (polar angle)", start.elevation)
                    self.radius = slider("radius", "Distance, further away", start.radius)
                with gr.Row(elem_classes="pair"):
                    self.count = slider("samples", "Samples", 1, min_width=120)
                    with gr.Column(min_width=120, elem_classes="ticks"):
                        self.guesses = gr.Checkbox(False, label="Where it guesses")
                        self.live = gr.Checkbox(True, label="Draw as I move")
                with gr.Row():
                    self.go = gr.Button("Draw this view", variant="primary", elem_id="draw")
                    self.stop = gr.Button("Stop", min_width=70, scale=0)
                self.settle = gr.Button("settle", visible="hidden", elem_id="settle")

    @property
    def move(self) -> list[gr.Slider]:
        """Azimuth, elevation, radius."""
        return [self.azimuth, self.elevation, self.radius]

    def connect(self, controls: Controls, changed: list[Any]) -> list[Any]:
        """Make it work, drawing after every event of `changed`; returns the events that add to the history."""
        plain: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        fields = [controls.session, *self.move, *controls.drawing.all, controls.elevation]
        for kind in (self.plot.input, self.plot.release):
            kind(None, self.plot, self.move, js="(v) => v", **plain)
        self.plot.release(None, None, None, js="() => window.zero123.rest(80)", **plain)
        for part in self.move:
            part.change(None, self.move, None, js="(a, e, r) => window.zero123.moved(a, e, r)", **plain)
            part.release(None, None, None, js="() => window.zero123.rest(80)", **plain)
        shown = [self.result, self.facts]
        gr.on(
            [part.change for part in self.move], self.preview, [*fields, self.live], shown,
            trigger_mode="always_last", concurrency_id="quick", concurrency_limit=4, **plain,
        )  # fmt: skip
        for button, (azimuth, elevation) in zip(self.presets, PRESETS.values(), strict=True):
            button.click(None, None, self.move, js=f"() => [{azimuth}, {elevation}, 0]", **plain)
        self.random.click(self.anywhere, None, self.move, queue=False, **plain)
        wanted = [*fields, self.count, self.guesses]
        drawing: dict[str, Any] = {
            "outputs": [self.result, self.samples, self.facts],
            "concurrency_id": "quick",
            "concurrency_limit": 4,
            "api_visibility": "private",
            "trigger_mode": "always_last",
        }
        on_result: dict[str, Any] = {"show_progress_on": self.result}
        self.samples.select(self.one_of, None, self.result, queue=False, **plain)
        self.stop.click(self.stopped, queue=False, **plain)
        return [
            self.settle.click(self.settled, [*wanted, self.live], show_progress="hidden", **drawing),
            self.go.click(self.draw, wanted, **on_result, **drawing),
            self.guesses.input(self.draw, wanted, **on_result, **drawing),
            *[event.success(self.first, wanted, **on_result, **drawing) for event in changed],
        ]

    def preview(
        self, session: Session, azimuth: float, elevation: float, radius: float, model: str, steps: int, scale: float,
        seed: int, photo: str, live: bool, request: gr.Request,
    ) -> Any:  # fmt: skip
        """The view at once, at one step, while the camera moves."""
        if session.cut is None or not live:
            return gr.skip(), gr.skip()
        wanted = view_settings((azimuth, elevation, radius), (model, steps, scale, seed))
        known = self.desk.drawings.wish(request.session_hash)
        if known is not None and known.preview == wanted.preview:
            return gr.skip(), gr.skip()  # it came late: the view itself is drawn already
        turn = self.desk.drawings.begin(request.session_hash, wanted.preview)
        asked = self.desk.request(session.cut, wanted.preview, photo)
        drawn = self.desk.draw(request.session_hash, asked)
        if not self.desk.drawings.newest(request.session_hash, turn):
            return gr.skip(), gr.skip()
        return drawn.pictures[0], facts([wanted.words, "preview at one step" if wanted != wanted.preview else ""])

    def draw(
        self, session: Session, request: gr.Request, azimuth: float, elevation: float, radius: float, model: str,
        steps: int, scale: float, seed: int, photo: str, samples: int, guesses: bool,
    ) -> Any:  # fmt: skip
        """The view as it is set, with its samples; kept in the history."""
        drawings, tab = self.desk.drawings, request.session_hash
        samples = max(samples, _FEW_SAMPLES) if guesses else samples
        wanted = view_settings((azimuth, elevation, radius), (model, steps, scale, seed), samples)
        turn = drawings.begin(tab, wanted)
        drawn = self.desk.draw(tab, self.desk.request(session.cut, wanted, photo))
        drawings.keep(tab, Entry(turn, drawn.pictures[0], wanted))
        if not drawings.newest(tab, turn):
            return gr.skip(), gr.skip(), gr.skip()
        shown = drawn.guess if guesses and drawn.guess else drawn.pictures[0]
        several = gr.Gallery([str(file) for file in drawn.pictures], visible=wanted.samples > 1)
        return shown, several, self._facts(wanted, drawn, guesses)

    def settled(self, session: Session, request: gr.Request, *rest: Any) -> Any:
        """`draw` once the camera has come to rest, if it is to follow the camera at all."""
        *wanted, live = rest
        if session.cut is None or not live:
            return gr.skip(), gr.skip(), gr.skip()
        return self.draw(session, request, *wanted)

    def first(self, session: Session, request: gr.Request, *rest: Any) -> Any:
        """`draw` of a new picture, or an empty stage where there is none."""
        if session.cut is None:
            self.desk.drawings.begin(request.session_hash, None)  # nothing drawn before comes back
            return None, gr.Gallery(visible=False), ""
        return self.draw(session, request, *rest)

    def one_of(self, chosen: gr.SelectData, request: gr.Request) -> Path | None:
        """The sample that was clicked."""
        past = self.desk.drawings.past(request.session_hash)
        if not past:
            return None
        name = past[0].file.name.rpartition("-")[0]
        return past[0].file.with_name(f"{name}-{int(chosen.index)}.png")

    def stopped(self, request: gr.Request) -> None:
        """Stop what runs for this tab."""
        self.desk.stop(request.session_hash)

    @staticmethod
    def anywhere() -> tuple[int, int, float]:
        """A camera anywhere but straight above or below."""
        low, high = int(RANGES["azimuth"].low), int(RANGES["azimuth"].high)
        return random.randint(low, high), random.randint(-60, 60), round(random.uniform(-0.2, 0.2), 2)

    def _facts(self, wanted: ViewSettings, drawn: Drawn, guesses: bool) -> str:
        parts = [wanted.words, wanted.model, f"{wanted.steps} step{'s' * (wanted.steps > 1)}", f"seed {wanted.seed}"]
        parts += [f"{drawn.seconds:.1f} s", drawn.remark]
        if guesses:
            parts.append(f"yellow to dark: where it may be wrong, by up to {drawn.spread:.2f}")
            if drawn.spread < _AGREED:
                parts.append("all samples agree: with one step a model gives its mean; take 4 or more")
        return facts(parts)
