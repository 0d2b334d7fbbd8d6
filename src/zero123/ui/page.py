"""The page: all its parts, and what connects them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import gradio as gr

from zero123.ui.api import add_endpoints
from zero123.ui.compare_tab import CompareTab
from zero123.ui.controls import Controls
from zero123.ui.desk import Desk
from zero123.ui.drawings import Drawings
from zero123.ui.mesh_tab import MeshTab
from zero123.ui.model_list import models_table
from zero123.ui.orbit_tab import OrbitTab
from zero123.ui.settings import ViewSettings
from zero123.ui.view_tab import ViewTab

_HEADER = "<h1>zero123</h1><p>One picture of an object, to any view of it and to a mesh.</p>"


def build_page(desk: Desk) -> gr.Blocks:
    """The page around a desk; `serving.serve` puts it on the network."""
    with gr.Blocks(analytics_enabled=False, title="zero123", fill_width=True, delete_cache=(900, 7200)) as page:
        with gr.Row(elem_id="header"):
            gr.HTML(_HEADER, elem_id="title")
            link = gr.Button("Copy link", size="sm", scale=0, min_width=110, elem_id="link")
            theme = gr.Button("Light / dark", size="sm", scale=0, min_width=110, elem_id="theme")
        with gr.Row(elem_id="page"):
            with gr.Column(scale=0, min_width=300, elem_id="side"):
                controls = Controls(desk)
            with gr.Column(scale=1, min_width=300), gr.Tabs(elem_id="tabs"):
                with gr.Tab("View", id="view") as view_tab:
                    view = ViewTab(desk)
                with gr.Tab("Orbit", id="orbit"):
                    orbit = OrbitTab(desk)
                with gr.Tab("3D", id="mesh"):
                    mesh = MeshTab(desk)
                with gr.Tab("Compare", id="compare"):
                    compare = CompareTab(desk)
                with gr.Tab("History", id="history") as history_tab:
                    history = gr.Gallery(
                        label="Views of this session; choose one to go back to its settings", columns=6, height=560,
                        allow_preview=False, elem_id="history", buttons=[],
                    )  # fmt: skip
                with gr.Tab("Models", id="models"):
                    gr.HTML(models_table(desk.models), elem_id="models")
        view.connect(controls, controls.connect(view.plot))
        orbit.connect(controls)
        mesh.connect(controls)
        compare.connect(controls, view.move)
        linked = _in_order(view, controls)
        _connect_links(page, desk, link, theme, linked)
        past = _Past(desk.drawings)
        history_tab.select(past.shown, None, history, queue=False, api_visibility="private")
        history.select(past.again, None, linked, queue=False, api_visibility="private")
        assert view_tab is not None
        page.unload(_leaving(desk))
        add_endpoints(desk)
    return page


def _in_order(view: ViewTab, controls: Controls) -> list[Any]:
    """The components of the fields of `ViewSettings`, in its order."""
    drawing = controls.drawing
    by_name = {
        "azimuth": view.azimuth,
        "elevation": view.elevation,
        "radius": view.radius,
        "model": drawing.model,
        "steps": drawing.steps,
        "scale": drawing.scale,
        "samples": view.count,
        "seed": drawing.seed,
    }
    return [by_name[field.name] for field in fields(ViewSettings)]


def _connect_links(page: gr.Blocks, desk: Desk, link: gr.Button, theme: gr.Button, linked: list[Any]) -> None:
    """Links that carry settings, and the theme."""
    plain: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    names = [field.name for field in fields(ViewSettings)]
    link.click(None, linked, None, js=f"(...values) => window.zero123.link({names}, values)", **plain)
    theme.click(None, None, None, js="() => window.zero123.theme()", **plain)
    page.load(None, None, None, js="() => window.zero123.started()", **plain)

    def opened(request: gr.Request) -> list[Any]:
        """The settings of the link by which the page was opened; else as they are."""
        query = {key: value for key, value in dict(request.query_params).items() if key in names}
        if not query:
            return [gr.skip()] * len(names)
        settings, refused = ViewSettings.from_query(query, desk.choices)
        for line in refused:
            gr.Warning(f"The link was not followed in full: {line}.")
        return [getattr(settings, name) for name in names]

    # Queued: a warning of an event outside the queue never reaches the page.
    page.load(opened, None, linked, **plain)


class _Past:
    """The history's tab."""

    def __init__(self, drawings: Drawings) -> None:
        self._drawings = drawings

    def shown(self, request: gr.Request) -> list[tuple[str, str]]:
        """The session's views with their captions."""
        past = self._drawings.past(request.session_hash)
        return [(str(entry.file), f"{entry.settings.words} · {entry.settings.model}") for entry in past]

    def again(self, chosen: gr.SelectData, request: gr.Request) -> list[Any]:
        """The settings of the view chosen; the fields as they are where it is forgotten, as after a lost connection."""
        past, index = self._drawings.past(request.session_hash), int(chosen.index)
        return [getattr(past[index].settings, f.name) if index < len(past) else gr.skip() for f in fields(ViewSettings)]


def _leaving(desk: Desk) -> Any:
    def leave(request: gr.Request) -> None:
        desk.leave(request.session_hash)

    return leave
