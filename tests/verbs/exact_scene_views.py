"""In the place of a model: one that knows the object, a sphere on a box, and draws its true views."""

import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parents[1] / "reconstruction"))

import exact_scene

from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.images.matting import Matte
from zero123.images.photo import Photo
from zero123.images.spread import Samples
from zero123.reconstruction.fit import FitSettings
from zero123.reconstruction.from_photo import source_at
from zero123.reconstruction.from_views import ReconstructionSettings
from zero123.reconstruction.hull import HullSettings

SIZE = 32
QUICK = ReconstructionSettings(
    hull=HullSettings(cells=24), fit=FitSettings(grids=(16,), steps=(8,), rays=512), picture_size=SIZE, faces=800
)


class TruthTeller:
    """Believes what it is told of where a photo was taken from."""

    def __init__(self):
        self.model = SimpleNamespace(place_reader="there", draft="there")
        self.photo = exact_scene.picture(Camera.from_orbit(source_at(20.0), hw=(SIZE, SIZE)), samples=2)[0]

    def prepare(self, picture, background):
        """The photo as it is."""
        return Photo(picture, Matte("alpha", 0.2, False), picture[3:])

    def places(self, pictures):
        """Where the photo was taken from."""
        return OrbitPose.cat([source_at(20.0)] * len(pictures))

    def belief(self, photo, relative, source, settings=None):
        """Nothing but what its views show."""

    def __call__(self, photo, relative, settings, source, progress=None):
        """The true views."""
        progress(1, 1)
        camera = Camera.from_orbit(source.moved(relative), hw=(SIZE, SIZE))
        return exact_scene.on_white(exact_scene.picture(camera, samples=2))

    def samples(self, photo, relative, settings, source, progress=None):
        """The same, one of each."""
        return Samples.of(self(photo, relative, settings, source, progress), settings.samples)

    def source(self, photo):
        """Where the photo was taken from."""
        return source_at(20.0)
