"""A sphere on a box, seen by rays in closed form: ground truth for the reconstruction that shares no code with it."""

import numpy as np
import torch

from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose

CENTRE, RADIUS = np.array((0.0, 0.05, 0.12)), 0.27
LOW, HIGH = np.array((-0.2, -0.3, -0.4)), np.array((0.25, 0.2, -0.1))


def ring(count=10, size=48, elevation_deg=10.0):
    """A ring of views and four from above; the first looks at the front."""
    azimuth = [360 / count * k for k in range(count)] + [45.0, 135.0, 225.0, 315.0]
    elevation = [elevation_deg] * count + [50.0] * 4
    return Camera.from_orbit(
        OrbitPose.from_degrees(torch.tensor(azimuth), torch.tensor(elevation), 1.85), hw=(size, size)
    )


def inside(points):
    """Whether points, (P, 3), are in the sphere or in the box."""
    ball = np.linalg.norm(points - CENTRE, axis=-1) < RADIUS
    return ball | ((points > LOW) & (points < HIGH)).all(axis=-1)


def _sphere(origins, directions):
    along = -((origins - CENTRE) * directions).sum(-1)
    miss = ((origins - CENTRE + along[..., None] * directions) ** 2).sum(-1)
    return np.where(miss < RADIUS**2, along - np.sqrt(np.maximum(RADIUS**2 - miss, 0)), np.inf)


def _box(origins, directions):
    first, second = (LOW - origins) / directions, (HIGH - origins) / directions
    near, far = np.minimum(first, second).max(-1), np.maximum(first, second).min(-1)
    return np.where(far > near, near, np.inf)


def picture(camera, samples=3):
    """Straight-alpha pictures, (V, 4, H, W): an orange ball with a blue top, a green box."""
    fine = camera.resized((camera.hw[0] * samples, camera.hw[1] * samples))
    origins, directions = (t.double().numpy() for t in fine.rays())
    ball, box = _sphere(origins, directions), _box(origins, directions)
    nearest = np.minimum(ball, box)
    hit = np.isfinite(nearest)
    points = origins + np.where(hit, nearest, 0)[..., None] * directions
    blue = points[..., 2:] > CENTRE[2] + 0.1
    ball_colour = np.where(blue, (0.15, 0.3, 0.8), (0.9, 0.5, 0.1))
    colour = np.where((ball < box)[..., None], ball_colour, (0.1, 0.55, 0.2))
    flat = np.concatenate((colour * hit[..., None], hit[..., None]), axis=-1)
    height, width = camera.hw
    mean = flat.reshape(-1, height, samples, width, samples, 4).mean(axis=(2, 4))
    mean[..., :3] /= np.maximum(mean[..., 3:], 1e-9)
    return torch.from_numpy(mean.transpose(0, 3, 1, 2)).float()


def on_white(images):
    return images[:, :3] * images[:, 3:] + 1 - images[:, 3:]
