"""What the page is made of: its theme, the camera plot, the mask brush, and small pieces of HTML."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import gradio as gr

from zero123.ui.settings import RANGES, ViewSettings

PRESETS = {
    "Front": (0, 0),
    "Left": (-90, 0),
    "Right": (90, 0),
    "Behind": (180, 0),
    "Above": (0, 90),
    "Below": (0, -90),
}
"""Azimuth and elevation of the camera's move, degrees: the original page's five and the way back."""

_FONT = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def static(name: str) -> str:
    """The text of a file of the page."""
    return files("zero123.ui").joinpath("static").joinpath(name).read_text(encoding="utf-8")


def theme() -> gr.themes.Base:
    """Neutral greys and one accent, in the visitor's own fonts: nothing comes from another server."""
    accent, grey = gr.themes.colors.teal, gr.themes.colors.zinc
    small = gr.themes.sizes
    look = gr.themes.Base(
        primary_hue=accent, secondary_hue=grey, neutral_hue=grey, spacing_size=small.spacing_sm,
        radius_size=small.radius_md, text_size=small.text_sm, font=_FONT, font_mono=_MONO,
    )  # fmt: skip
    return look.set(
        body_background_fill="#f4f4f5",
        body_background_fill_dark="#141416",
        block_background_fill="#ffffff",
        block_background_fill_dark="#1c1c1f",
        background_fill_primary_dark="#1c1c1f",
        background_fill_secondary_dark="#232327",
        body_text_color_subdued="#71717a",
        body_text_color_subdued_dark="#9a9aa3",
        block_border_width="1px",
        block_border_color="#e4e4e7",
        block_border_color_dark="#2b2b30",
        border_color_primary_dark="#2b2b30",
        block_shadow="none",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_border_width="0px",
        block_label_text_color="#71717a",
        block_label_text_color_dark="#8b8b94",
        block_title_text_color="#52525b",
        block_title_text_color_dark="#a1a1aa",
        block_title_text_weight="500",
        input_background_fill="#fafafa",
        input_background_fill_dark="#141416",
        button_primary_background_fill="#0f766e",
        button_primary_background_fill_hover="#115e59",
        button_primary_background_fill_dark="#0d9488",
        button_primary_background_fill_hover_dark="#0f766e",
        button_primary_text_color="#ffffff",
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_hover="#f4f4f5",
        button_secondary_background_fill_dark="#27272a",
        button_secondary_background_fill_hover_dark="#323236",
        button_secondary_border_color="#d4d4d8",
        button_secondary_border_color_dark="#3a3a40",
        slider_color="#0d9488",
        slider_color_dark="#14b8a6",
    )


def picture_input(**options: Any) -> gr.Image:
    """A picture as its file: it is opened where pictures are checked, in a worker, never in the page's process."""
    picture = gr.Image(type="filepath", image_mode=None, **options)
    # On the object: a subclass would make gradio write a stub file beside this one.
    vars(picture)["preprocess"] = lambda payload: str(payload.path) if payload is not None and payload.path else None
    return picture


def camera_plot() -> gr.HTML:
    """The input and target cameras on a sphere around the object; drag the target, or turn the whole."""
    start = ViewSettings()
    return gr.HTML(
        value=[start.azimuth, start.elevation, start.radius],
        html_template=(
            "<div class='camera'><canvas tabindex='0' role='application' aria-label='Camera: drag it, or use the arrow "
            "keys; plus and minus change the distance, Home goes back'></canvas>"
            "<div class='camera-key'><span class='of-source'>picture</span><span class='of-target'>view</span></div>"
            "<div class='camera-words' aria-live='polite'></div></div>"
        ),
        js_on_load=static("camera.js"),
        photo="",
        height=0.0,
        elem_id="plot",
    )


def mask_brush() -> gr.HTML:
    """The picture with a brush that keeps or removes."""
    return gr.HTML(
        value="",
        html_template=(
            "<div class='mask'><canvas aria-label='Mask: paint what belongs to the object'></canvas><div class='tools'>"
            "<button type='button' data-do='keep'>Keep</button><button type='button' data-do='remove'>Remove</button>"
            "<label>Brush <input type='range' min='1' max='25' value='6' aria-label='Brush size'></label>"
            "<button type='button' data-do='undo'>Undo</button>"
            "<button type='button' class='primary' data-do='apply'>Use this mask</button></div></div>"
        ),
        js_on_load=static("mask.js"),
        picture="",
        mask="",
        elem_id="mask",
    )


def slider(name: str, label: str, value: float, high: float | None = None, **more: Any) -> gr.Slider:
    """A slider of one of the page's numbers."""
    limits = RANGES[name]
    return gr.Slider(limits.low, high or limits.high, value, step=limits.step, label=label, **more)


def data_url(file: Path) -> str:
    """A small picture as a URL that holds it."""
    kind = "jpeg" if file.suffix == ".jpg" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"


def progress(fraction: float, message: str) -> str:
    """A bar with its words."""
    share = round(100 * min(max(fraction, 0.0), 1.0))
    return (
        f"<div class='progress' role='progressbar' aria-valuemin='0' aria-valuemax='100' aria-valuenow='{share}'>"
        f"<div style='width:{share}%'></div><span>{escape(message)}</span><b>{share} %</b></div>"
    )


def facts(parts: Sequence[str]) -> str:
    """Short facts in a line."""
    return "<div class='facts'>" + "".join(f"<span>{escape(part)}</span>" for part in parts if part) + "</div>"
