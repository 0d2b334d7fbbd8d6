"""The turntable goes around the object, front first."""

import numpy as np
import torch

from zero123.meshes.mesh import Mesh
from zero123.reconstruction.turntable import render_turntable


def test_the_first_picture_shows_the_front_and_the_third_of_four_the_back():
    vertices = np.array([[0.1, -0.4, -0.4], [0.1, 0.4, -0.4], [0.1, 0, 0.4]], np.float32)
    back = vertices - np.float32((0.2, 0, 0))
    colours = np.repeat(np.float32([[1, 0, 0], [0, 0, 1]]), 3, axis=0)
    mesh = Mesh(np.concatenate((vertices, back)), np.array([[0, 1, 2], [5, 4, 3]]), colours)
    views = render_turntable(mesh, 4, (32, 32), elevation=0.0, shade=0.0)
    assert views.shape == (4, 4, 32, 32)
    assert views[0, :3, 16, 16].argmax() == 0
    assert views[2, :3, 16, 16].argmax() == 2
    assert torch.isfinite(views).all()
