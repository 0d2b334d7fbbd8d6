"""The left side of the page: the picture, the object cut out of it, and how views are drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import gradio as gr

from zero123.ui import tasks
from zero123.ui.desk import Desk, Session, object_front, picture_height
from zero123.ui.layout import data_url, facts, mask_brush, picture_input, slider
from zero123.ui.settings import RANGES, ViewSettings, number

_METHODS = [
    ("Automatic", "auto"),
    ("Its transparency", "alpha"),
    ("Plain background", "plain"),
    ("Any background (GrabCut)", "grabcut"),
    ("Matting network (rembg)", "rembg"),
]

TIPS = """
- **One object**, whole, in the middle. Not people or faces, rooms or landscapes: the models never learned them.
- **Look at the cut-out.** What it lacks, every view lacks; mend it with the mask brush.
- **Another seed, another guess.** What the picture does not show is guessed; *Where it guesses* says where.
- **Steps and guidance** trade time and detail. More guidance follows the picture harder; 1 is off.
- There is no safety checker; you answer for what you make. Pictures stay on the machine that runs this page.
"""


def examples() -> list[Path]:
    """The example pictures, in the package or beside its source."""
    packed = Path(str(files("zero123.ui"))) / "examples"
    beside = Path(str(files("zero123"))).parent.parent / "examples" / "pictures"
    return sorted((packed if packed.is_dir() else beside).glob("*.png"))


@dataclass(frozen=True)
class DrawingControls:
    """How views are drawn."""

    model: gr.Dropdown
    steps: gr.Slider
    scale: gr.Slider
    seed: gr.Number

    @property
    def all(self) -> list[Any]:
        """In the order in which handlers take them."""
        return [self.model, self.steps, self.scale, self.seed]

    @classmethod
    def lay_out(cls, desk: Desk, **more: Any) -> DrawingControls:
        """Model, steps, guidance and seed; a new model brings the steps and the guidance that suit it."""
        first = desk.first
        model = gr.Dropdown(desk.choices, value=first.name, label="Model", **more)
        with gr.Row(elem_classes="pair"):
            steps = slider("steps", "Steps", first.steps, min_width=120)
            scale = slider("scale", "Guidance", first.scale, min_width=120)
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=RANGES["seed"].high)

        def suiting(name: str) -> tuple[int, float]:
            chosen = desk.models.get(name, first)
            return chosen.steps, chosen.scale

        model.input(suiting, model, [steps, scale], queue=False, api_visibility="private")
        return cls(model, steps, scale, seed)


class Controls:
    """Lays out the left side; `connect` makes it work."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.session = gr.State(Session())
        self.picture = picture_input(
            label="Picture", sources=["upload", "clipboard"], height=230,
            elem_id="picture", buttons=["fullscreen"],
        )  # fmt: skip
        gr.Examples(
            [[str(file)] for file in examples()], self.picture, label="Examples", elem_id="examples",
            cache_examples=False, api_visibility="private",
        )  # fmt: skip
        self.object = gr.Image(
            label="The object, cut out", interactive=False, height=190, elem_id="object", buttons=["download"]
        )
        self.words = gr.HTML(elem_id="found")
        with gr.Accordion("Background and mask", open=False, elem_id="background"):
            self.method = gr.Dropdown(_METHODS, value="auto", label="How the object is found")
            self.mask = mask_brush()
            # A number field shows 0 where nothing is given, which is a height too.
            self.elevation = gr.Textbox(
                "", label="Picture taken from, degrees above the horizon", placeholder="read by the model", max_lines=1,
                elem_id="taken-from",
            )  # fmt: skip
            self.front = gr.Textbox(
                "", label="If left and right are alike: its front, degrees to the right of the camera",
                placeholder="unknown; -90 to 90", max_lines=1, elem_id="front",
            )  # fmt: skip
        with gr.Group(elem_classes="drawing"):
            self.drawing = DrawingControls.lay_out(desk)
        self.licence = gr.HTML(self._licence(desk.first.name), elem_id="licence")
        with gr.Accordion("Tips and limits", open=False, elem_classes="tips"):
            gr.Markdown(TIPS)

    def connect(self, plot: gr.HTML) -> list[Any]:
        """Cut out what is given, and show it here and in the camera plot; returns the events after which to draw."""
        outputs = [self.session, self.object, self.words, self.mask, plot, self.front]
        cut: dict[str, Any] = {
            "outputs": outputs,
            "concurrency_id": "quick",
            "concurrency_limit": 4,
            "api_visibility": "private",
        }
        inputs = [self.session, self.picture, self.method]
        mask = [self.session, self.mask]
        self.drawing.model.change(
            self._licence, self.drawing.model, self.licence, queue=False, api_visibility="private"
        )
        height, front = [self.session, self.elevation], [self.session, self.front]
        told: dict[str, Any] = {
            "queue": False,
            "api_visibility": "private",
            "show_progress": "hidden",
            "trigger_mode": "always_last",
        }
        return [
            self.picture.change(self.found, inputs, **cut),
            self.method.input(self.found, inputs, **cut),
            self.mask.submit(self.masked, mask, **cut),
            gr.on([self.elevation.submit, self.elevation.blur], self.taken_from, height, plot, **told),
            gr.on([self.front.submit, self.front.blur], self.facing, front, self.session, **told),
        ]

    def found(self, session: Session, picture: str | None, method: str, request: gr.Request) -> list[Any]:
        """The object of a new picture."""
        if picture is None:
            self.desk.stop(request.session_hash)
            return self._shown(replace(session, picture=None, cut=None))
        given, room = Path(picture), self.desk.room(request.session_hash)
        try:
            cut = self.desk.call(
                request.session_hash, tasks.cut_out, given, method, self.desk.first.source, room, seconds=_CUT_S
            )
        except gr.Error as error:
            gr.Warning(str(error.message))
            return self._shown(replace(session, picture=given, cut=None), str(error.message))
        return self._shown(replace(session, picture=given, cut=cut))

    def masked(self, session: Session, mask: str, request: gr.Request) -> list[Any]:
        """The object under a mask painted by hand."""
        if session.picture is None or session.cut is None:
            raise gr.Error("Give a picture first, then paint its mask.", print_exception=False)
        room, reader = self.desk.room(request.session_hash), self.desk.first.source
        cut = self.desk.call(
            request.session_hash, tasks.masked, session.picture, session.cut.file, str(mask), reader, room,
            seconds=_CUT_S,
        )  # fmt: skip
        return self._shown(replace(session, cut=replace(cut, front=session.cut.front)))

    def taken_from(self, session: Session, height: str) -> Any:
        """The camera plot with the picture's camera as high as the visitor says."""
        read = session.cut.elevation if session.cut else None
        given = picture_height(height)
        return gr.HTML(height=next((value for value in (given, read) if value is not None), 0.0))

    def facing(self, session: Session, front: str) -> Session:
        """The object with its front where the visitor says; a new picture forgets it."""
        found = object_front(front)
        return session if session.cut is None else replace(session, cut=replace(session.cut, front=found))

    def _shown(self, session: Session, fault: str = "") -> list[Any]:
        cut = session.cut
        if cut is None:
            words = f"<p class='fault'>{escape(fault)}</p>" if fault else ""
            return [session, None, words, gr.HTML(picture="", mask=""), gr.HTML(photo="", height=0.0), ""]
        mask = gr.HTML(picture=data_url(cut.editing), mask=data_url(cut.mask))
        plot = gr.HTML(photo=data_url(cut.file), height=cut.elevation or 0.0)
        front = "" if cut.front is None else f"{cut.front:g}"
        return [session, cut.file, facts([cut.words]), mask, plot, front]

    def _licence(self, name: str) -> str:
        model = self.desk.models.get(name, self.desk.first)
        return facts([f"{model.name}: {model.size}", f"Licence: {model.licence}", model.allows])


_CUT_S = 120.0


def view_settings(move: tuple[Any, Any, Any], drawing: tuple[Any, ...], samples: Any = 1) -> ViewSettings:
    """The page's fields as settings.

    Args:
        move: azimuth, elevation, radius.
        drawing: model, steps, scale, seed.
        samples: pictures.

    Raises:
        gr.Error: one is out of range; in one line.
    """
    model, steps, scale, seed = drawing
    try:
        return ViewSettings.checked(
            azimuth=move[0], elevation=move[1], radius=move[2], model=str(model), steps=steps, scale=scale,
            samples=samples, seed=seed,
        )  # fmt: skip
    except ValueError as error:
        raise gr.Error(f"{error}.".capitalize(), print_exception=False) from error


def within(name: str, value: Any, low: float, high: float, whole: bool = True) -> Any:
    """A number of a form, if it is in range.

    Raises:
        gr.Error: it is not; in one line.
    """
    try:
        return number(name, value, replace(RANGES["seed"], low=low, high=high, whole=whole))
    except ValueError as error:
        raise gr.Error(f"{error}.".capitalize(), print_exception=False) from error
