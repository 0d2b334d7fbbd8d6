"""The two renderers behind one interface."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from zero123.data.render.light import AreaLight, Light
from zero123.data.render.settings import Machine, RenderSettings
from zero123.data.render.source import Source
from zero123.data.render.textures import texture_fault
from zero123.geometry.camera import Camera
from zero123.meshes.load import MeshError


class Renderer(Protocol):
    """Object, cameras and light to pictures."""

    def describe(self) -> dict[str, Any]:
        """Name, version and settings, for the manifest."""

    def render(self, source: Source, camera: Camera, light: Light | AreaLight) -> Tensor:
        """Straight-alpha sRGB pictures of all cameras, (V, 4, H, W) in [0, 1].

        Raises:
            MeshError: the object cannot be rendered, in one line.
        """

    def close(self) -> None:
        """Give back what it holds."""


class Embree:
    """Renders with embree on the CPU; see `EmbreeRenderer`.

    Args:
        samples: rays per pixel, 1 or 4.
        need_textures: refuse objects whose textures are missing.
    """

    def __init__(self, samples: int = 4, need_textures: bool = True) -> None:
        self._samples, self._need_textures = samples, need_textures

    def describe(self) -> dict[str, Any]:
        """Name, version and settings, for the manifest."""
        try:
            number = version("embreex")
        except PackageNotFoundError:
            number = "unknown"
        return {"name": "embree", "version": number, "samples": self._samples}

    def render(self, source: Source, camera: Camera, light: Light | AreaLight) -> Tensor:
        """Pictures of all cameras, (V, 4, H, W)."""
        from zero123.data.render.embree import EmbreeRenderer

        if not isinstance(light, Light):
            raise ValueError("embree knows no area light; use the light 'studio'")
        fault = texture_fault(source.path) if source.path is not None and self._need_textures else None
        if fault:
            raise MeshError(f"{source.path}: {fault}")
        renderer = EmbreeRenderer(source.parts())
        return torch.stack([renderer.render(one, light, self._samples) for one in _each(camera)])

    def close(self) -> None:
        """Nothing to give back."""


def renderer_for(settings: RenderSettings, machine: Machine) -> Renderer:
    """The renderer that the settings name.

    Raises:
        ImportError: it is not installed; says how to install it.
    """
    if settings.renderer == "embree":
        return Embree(settings.samples, settings.need_textures)
    from zero123.data.render.cycles import CyclesRenderer

    return CyclesRenderer(settings.cycles, machine, settings.need_textures)


def random_light(settings: RenderSettings, numbers: np.random.Generator) -> Light | AreaLight:
    """The light of one object, by the name in the settings."""
    return Light.random(numbers) if settings.light == "studio" else AreaLight.random(numbers)


def _each(camera: Camera) -> list[Camera]:
    return [camera[view] for view in range(len(camera.position))]
