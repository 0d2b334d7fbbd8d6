"""From one photo to a mesh: which cameras are asked for, and that the true views give the true object."""

import dataclasses
import math
from types import SimpleNamespace

import exact_scene
import pytest
import torch
from torch.nn import functional

from zero123.diffusion.sampling import SamplingSettings
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import RADIUS, OrbitPose
from zero123.images.matting import Matte
from zero123.images.photo import Photo
from zero123.models.drawing import Belief
from zero123.reconstruction import from_photo as room
from zero123.reconstruction.fit import FitSettings
from zero123.reconstruction.from_photo import (
    PhotoSettings,
    Watch,
    all_around,
    from_photo,
    near_photo,
    source_at,
    with_mirror_image,
)
from zero123.reconstruction.from_views import ReconstructionSettings
from zero123.reconstruction.hull import HullSettings
from zero123.reconstruction.unseen import UnseenSettings

SIZE = 32
QUICK = ReconstructionSettings(
    hull=HullSettings(cells=24), fit=FitSettings(grids=(16,), steps=(8,), rays=512), picture_size=SIZE, faces=800
)


def seen_from(pose):
    return exact_scene.on_white(exact_scene.picture(Camera.from_orbit(pose, hw=(SIZE, SIZE)), samples=2))


class TruthTeller:
    """In the place of `NovelViews`: knows the object, and believes that photos are taken from 20 degrees."""

    def __init__(self, reads=True, drafts=True):
        self.asked = None
        self.model = SimpleNamespace(place_reader="there" if reads else None, draft="there" if drafts else None)

    def places(self, pictures):
        return OrbitPose.cat([source_at(20.0)] * len(pictures))

    def belief(self, photo, relative, source, settings=None):
        return None

    def __call__(self, photo, relative, settings, source, progress=None):
        self.asked = (relative, settings, source)
        if progress is not None:
            progress(1, 1)
        return seen_from((source or source_at(20.0)).moved(relative))


def photo_from(elevation_deg):
    picture = exact_scene.picture(Camera.from_orbit(source_at(elevation_deg), hw=(SIZE, SIZE)), samples=2)[0]
    return Photo(picture, Matte("alpha", 0.2, False), picture[3:])


def test_views_surround_the_object_and_those_above_and_below_stand_between_the_rings():
    heights = {"ring_elevation_deg": 5, "crown_elevation_deg": 50, "low_elevation_deg": -20}
    poses = all_around(PhotoSettings(ring=4, crown=4, low=2, **heights))
    turns = [0, 90, 180, 270, 45, 135, 225, 315, 90, 270]
    assert torch.rad2deg(poses.azimuth).tolist() == pytest.approx(turns, abs=1e-3)
    assert torch.rad2deg(poses.elevation).tolist() == pytest.approx([5] * 4 + [50] * 4 + [-20] * 2, abs=1e-4)
    assert len(all_around(PhotoSettings(ring=3, crown=0, low=0))) == 3


def test_near_views_stand_on_a_circle_around_the_photo_and_over_no_pole():
    settings = PhotoSettings(near=6, near_deg=20)
    poses = near_photo(source_at(30.0), settings)
    angle = torch.rad2deg(torch.acos(functional.normalize(poses.point(), dim=-1) @ source_at(30.0).point()[0] / RADIUS))
    assert angle.tolist() == pytest.approx([20] * 6, abs=3)
    assert float(near_photo(source_at(85.0), settings).elevation.max()) <= math.radians(80) + 1e-6
    assert len(near_photo(source_at(0.0), PhotoSettings(near=0))) == 0
    with pytest.raises(ValueError, match="near must be at least 0"):
        PhotoSettings(near=-1)


def test_what_no_view_saw_is_refined_before_the_surface_is_taken(monkeypatch):
    done = []

    def refined(field, teacher, cameras, settings, progress):
        done.append((len(cameras.world_from_camera), cameras.hw, settings.steps, teacher))
        with torch.no_grad():
            field.colour.fill_(4.0)
        progress(settings.steps, settings.steps)
        return field.density > 0

    monkeypatch.setattr(room, "Teacher", lambda model, photo, source, scale, weight: (tuple(photo.shape), len(source)))
    monkeypatch.setattr(room, "refined", refined)
    told, quick = [], dataclasses.replace(QUICK, input_colours=0.0)
    settings = PhotoSettings(ring=4, crown=0, low=0, reconstruction=quick, unseen=UnseenSettings(steps=3))
    found, _, _ = from_photo(TruthTeller(), photo_from(20.0), settings, lambda *what: told.append(what))
    assert done == [(5, (64, 64), 3, ((1, 3, SIZE, SIZE), 1))]
    assert told[-1] == ("unseen", 3, 3)
    assert float(found.mesh.vertex_colours.mean()) > 0.9


def test_true_views_give_the_object_and_every_stage_reports():
    views, told = TruthTeller(), []
    settings = PhotoSettings(ring=6, crown=4, low=0, reconstruction=QUICK, sampling=SamplingSettings(seed=3))
    found, images, poses = from_photo(views, photo_from(20.0), settings, lambda *what: told.append(what))
    relative, sampling, source = views.asked
    assert sampling.seed == 3
    assert math.degrees(float(source.elevation)) == pytest.approx(20, abs=1e-4)
    assert images.shape == (11, 3, SIZE, SIZE)
    asked = source.moved(relative).point()
    torch.testing.assert_close(asked, poses[1:].point(), atol=1e-5, rtol=0)
    torch.testing.assert_close(images, seen_from(poses), atol=1e-5, rtol=0)
    assert ("views", 1, 1) in told
    assert told[-1] == ("fit", 8, 8)
    low, high = found.mesh.vertices.min(0), found.mesh.vertices.max(0)
    assert low.tolist() == pytest.approx([-0.27, -0.3, -0.4], abs=0.12)
    assert high.tolist() == pytest.approx([0.27, 0.32, 0.39], abs=0.12)


def test_what_the_model_believes_of_outlines_comes_to_the_reconstruction(monkeypatch):
    class Believer(TruthTeller):
        def belief(self, photo, relative, source, settings=None):
            camera = Camera.from_orbit(source.moved(relative), hw=(SIZE, SIZE))
            return Belief(exact_scene.picture(camera, samples=1)[:, 3], None)

    given, original = [], room.from_views

    def from_views(images, camera, settings, progress, outlines, *others):
        given.append((camera, outlines))
        return original(images, camera, settings, progress, outlines, *others)

    monkeypatch.setattr(room, "from_views", from_views)
    photo, settings = photo_from(20.0), PhotoSettings(ring=4, crown=0, low=0, reconstruction=QUICK)
    for views in (TruthTeller(), Believer()):
        from_photo(views, photo, settings)
    (_, alone), (camera, believed) = given
    assert torch.equal(alone, photo.rgba[3:]) and torch.equal(believed[:1], alone)
    assert torch.equal(believed[1:], exact_scene.picture(camera, samples=1)[1:, 3])


def test_the_mirror_image_is_the_photo_of_what_stands_mirrored():
    """Drawn by the camera that is said to have taken it, of the scene mirrored about the plane."""
    source, plane = source_at(15.0), 35.0
    shown, taken = with_mirror_image(photo_from(15.0), source, SamplingSettings(symmetry=plane))
    flat = torch.tensor([-math.sin(math.radians(plane)), math.cos(math.radians(plane)), 0.0])
    camera = Camera.from_orbit(taken, hw=(SIZE, SIZE))
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    mirrored = points - 2 * (points @ flat)[:, None] * flat
    own, other = camera[0].project(points)[0], camera[1].project(mirrored)[0]
    torch.testing.assert_close(other, torch.stack((SIZE - own[:, 0], own[:, 1]), dim=-1), atol=1e-3, rtol=1e-4)
    assert torch.equal(shown[1], shown[0].flip(-1))
    for way in (
        "none",
        "auto",
        5.0,
        -5.0,
        175.0,
    ):  # a plane that was guessed is no photo, the front's shows nothing new
        assert len(with_mirror_image(photo_from(15.0), source, SamplingSettings(symmetry=way))[0]) == 1


def test_a_mirror_image_is_a_photo_of_the_reconstruction_and_colours_the_other_side(monkeypatch):
    """The model draws grey; what is not grey on the mesh comes from the photo, seen from the right, and its twin."""

    class Grey(TruthTeller):
        def __call__(self, *asked):
            pictures = super().__call__(*asked)
            return torch.where(pictures.mean(1, keepdim=True) < 0.99, 0.5, 1.0).expand_as(pictures)

    bare = Grey(drafts=False)  # a model without drafts is not told, the mesh is
    settings = PhotoSettings(ring=4, crown=0, low=0, reconstruction=QUICK, sampling=SamplingSettings(symmetry=70.0))
    assert len(from_photo(bare, photo_from(20.0), settings)[0].photos) == 2
    assert bare.asked[1].symmetry == "none"
    shares = {}
    for way in ("none", 90.0):
        settings = PhotoSettings(ring=6, crown=4, low=0, reconstruction=QUICK, sampling=SamplingSettings(symmetry=way))
        found, images, poses = from_photo(Grey(), photo_from(20.0), settings)
        count = len(found.photos)
        assert len(images) == len(poses) == len(found.weights) == 10 + count
        assert torch.equal(images[count - 1], images[0].flip(-1)) == (way != "none")
        colours, behind = found.mesh.vertex_colours, found.mesh.vertices[:, 0] < -0.1
        shares[way] = float((abs(colours - colours.mean(1, keepdims=True)).max(1) > 0.1)[behind].mean())
    assert shares["none"] < 0.1 < 0.5 < shares[90.0]


def test_a_known_elevation_is_taken_instead_of_the_estimate():
    views = TruthTeller()
    settings = PhotoSettings(ring=6, crown=0, low=0, elevation_deg=-10.0, reconstruction=QUICK)
    _, _, poses = from_photo(views, photo_from(-10.0), settings)
    assert math.degrees(float(poses.elevation[0])) == pytest.approx(-10, abs=1e-4)


def test_a_model_that_reads_no_places_finds_the_elevation_by_views_instead_of_taking_the_horizon():
    views, told = TruthTeller(reads=False), []
    settings = PhotoSettings(ring=6, crown=0, low=0, reconstruction=QUICK)
    _, _, poses = from_photo(views, photo_from(20.0), settings, lambda *what: told.append(what))
    assert math.degrees(float(poses.elevation[0])) == pytest.approx(20, abs=8)
    assert [name for name, *_ in told][:2] == ["elevation", "views"]


@pytest.mark.parametrize("wrong", [float("nan"), 91.0, -120.0])
def test_impossible_elevations_are_refused(wrong):
    with pytest.raises(ValueError, match="elevation must be a number from -90 to 90 degrees"):
        PhotoSettings(elevation_deg=wrong)
    assert isinstance(source_at(90), OrbitPose)


def test_too_few_views_are_refused():
    with pytest.raises(ValueError, match="ring must be at least 3, crown and low at least 0, got 2, 8 and 8"):
        PhotoSettings(ring=2)


def test_further_rounds_draw_the_views_again_from_renders_of_what_the_last_ones_gave():
    class Redrawing(TruthTeller):
        begun = None

        def __call__(self, photo, relative, settings, source, progress=None, begin=None):
            self.begun = begin
            return super().__call__(photo, relative, settings, source, progress)

    views, quick = Redrawing(), dataclasses.replace(QUICK, fit=FitSettings(grids=(24,), steps=(60,), rays=1024))
    _, images, _ = from_photo(
        views, photo_from(20.0), PhotoSettings(ring=6, crown=4, low=0, rounds=2, strength=0.3, reconstruction=quick)
    )
    assert views.begun.strength == 0.3 and views.begun.pictures.shape == (10, 3, SIZE, SIZE)
    assert float((views.begun.pictures - images[1:]).abs().mean()) < 0.05  # the field explains its views
    with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
        PhotoSettings(rounds=0)


def test_a_known_distance_goes_with_a_given_elevation_and_with_an_estimated_one():
    views = TruthTeller()
    for told in (-10.0, None):
        settings = PhotoSettings(ring=6, crown=0, low=0, elevation_deg=told, radius=1.6, reconstruction=QUICK)
        _, _, poses = from_photo(views, photo_from(20.0), settings)
        assert float(views.asked[2].radius) == pytest.approx(1.6)
        assert poses.radius.tolist() == pytest.approx([1.6] + [1.85] * 6)
    with pytest.raises(ValueError, match=r"distance must be from 1 to 10 of the object's longest side, got 0\.5"):
        PhotoSettings(radius=0.5)


@pytest.mark.parametrize(("reads", "distance"), [(True, 1.6), (False, RADIUS)])
def test_a_given_elevation_leaves_the_distance_to_the_reader(reads, distance):
    class FromNear(TruthTeller):
        def places(self, pictures):
            return OrbitPose.cat([source_at(20.0, 1.6)] * len(pictures))

    views = FromNear(reads)
    settings = PhotoSettings(ring=6, crown=0, low=0, elevation_deg=-10.0, reconstruction=QUICK)
    _, _, poses = from_photo(views, photo_from(-10.0), settings)
    assert math.degrees(float(poses.elevation[0])) == pytest.approx(-10, abs=1e-4)
    assert float(views.asked[2].radius) == float(poses.radius[0]) == pytest.approx(distance)


class Short:
    """In the place of `from_views`: needs more memory than there is, until it is asked for little."""

    def __init__(self, error, grid):
        self.error, self.grid, self.asked = error, grid, []

    def __call__(self, images, camera, settings, *others):
        self.asked.append(settings)
        if max(settings.fit.grids) > self.grid:
            raise self.error
        return "made"


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 GB")],
    ids=["python", "gpu", "processor"],
)
def test_short_memory_makes_a_coarser_object_and_says_so(monkeypatch, error):
    short, told = Short(error, 50), []
    monkeypatch.setattr(room, "from_views", short)
    found, _, _ = from_photo(TruthTeller(), photo_from(20.0), watch=Watch(smaller=told.append))
    assert found == "made"
    assert [max(one.fit.grids) for one in short.asked] == [96, 64, 42]
    assert [max(one.fit.grids) for one in told] == [64, 42]


def test_memory_too_short_for_anything_and_other_errors_are_told(monkeypatch):
    monkeypatch.setattr(room, "from_views", Short(MemoryError(), 1))
    with pytest.raises(MemoryError):
        from_photo(TruthTeller(), photo_from(20.0))
    monkeypatch.setattr(room, "from_views", Short(RuntimeError("a shape"), 1))
    with pytest.raises(RuntimeError, match="a shape"):
        from_photo(TruthTeller(), photo_from(20.0))


def test_views_are_shown_once_drawn_and_the_field_while_it_is_fitted():
    seen = []
    quick = dataclasses.replace(QUICK, fit=FitSettings(grids=(16,), steps=(40,), rays=128))
    watch = Watch(lambda images: seen.append(images.shape), lambda field: seen.append(field.grid))
    from_photo(
        TruthTeller(), photo_from(20.0), PhotoSettings(ring=4, crown=0, low=0, reconstruction=quick), watch=watch
    )
    assert seen == [(5, 3, SIZE, SIZE), (16, 16, 16)]


def test_views_that_show_nothing_are_told_in_one_line():
    class Blank(TruthTeller):
        def __call__(self, photo, relative, *rest):
            return torch.ones(len(relative), 3, SIZE, SIZE)

    with pytest.raises(ValueError, match="outlines that share no volume"):
        from_photo(Blank(), photo_from(20.0), PhotoSettings(reconstruction=QUICK))
