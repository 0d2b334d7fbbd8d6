"""View sets small enough for tests, of which each pixel is known."""

import torch

from zero123.data.view_set import ViewSet
from zero123.geometry.camera import Camera
from zero123.geometry.paths import random_views

SIZE = 16


def view_set(seed, views=5, size=SIZE):
    """Noise, all of it object, from random places; the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(views, 4, size, size, generator=generator)
    return ViewSet(images, Camera.from_orbit(random_views(views, generator), hw=(size, size)))


def filled(folder, objects, views=5):
    """A folder of view sets, `object00` and so on."""
    for index in range(objects):
        view_set(index, views).save(folder / f"object{index:02d}")
    return folder
