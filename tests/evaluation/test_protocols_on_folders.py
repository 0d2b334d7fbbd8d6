"""A protocol finds its objects in a folder, names what is missing, and refuses views that are not its own."""

import numpy as np
import pytest
import torch

from zero123.data.view_set import ViewSet
from zero123.evaluation.cases import Cases, MissingViews, missing_files, names_in
from zero123.evaluation.protocols import ListedObject, Protocol, load
from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.images import io

SIZE = 32
RING = tuple((90.0 * k, 0.0, 1.85) for k in range(4))
OWN = Protocol("own", (1, 3), size=SIZE, sha256="x", objects=(ListedObject("a", "red"), ListedObject("b")))
LISTED = Protocol("ring", (1, 2), size=SIZE, sha256="x", camera_rule="listed", cameras=RING, objects=OWN.objects)


def camera(places=RING, **lens):
    azimuth, elevation, radius = (torch.tensor(v) for v in zip(*places, strict=True))
    return Camera.from_orbit(OrbitPose.from_degrees(azimuth, elevation, radius), **lens)


def pictures(size=SIZE, count=4):
    """A half-transparent grey disc whose straight colour grows from view to view."""
    place = (torch.arange(size) + 0.5) / size * 2 - 1
    alpha = (torch.hypot(place[:, None], place[None]) < 0.7).float() * 0.6
    return torch.stack(
        [torch.stack((*(torch.full_like(alpha, 0.2 * k) for _ in range(3)), alpha)) for k in range(count)]
    )


def save(folder, size=SIZE, places=RING, cameras=True, **lens):
    ViewSet(pictures(size, len(places)), camera(places, **lens)).save(folder)
    if not cameras:
        for path in folder.glob("*.npy"):
            path.unlink()
    return folder


def test_every_missing_file_is_named(tmp_path):
    save(tmp_path / "a")
    (tmp_path / "a" / "003.npy").unlink()
    expected = [f"{tmp_path}/a/003.npy"]
    expected += [f"{tmp_path}/b/{view:03d}.{ending}" for view in (0, 1, 3) for ending in ("png", "npy")]
    assert missing_files(tmp_path, OWN) == expected
    with pytest.raises(MissingViews, match="own: 7 files are missing") as error:
        Cases(tmp_path, OWN)
    assert error.value.files == expected


@pytest.mark.parametrize(("name", "first", "count"), [
    ("sync16", "alarm/000.png", 30 * 16),
    ("gso30-25", "alarm/render_mvs_25/model/000.png", 30 * 16 * 2),
    ("z123-random", "OBJECT/000.png", 17 * 2),
    ("corpus-test", "aws_kitchentable-01/000.png", 134 * 13),
])  # fmt: skip
def test_a_folder_that_is_not_there_lacks_all_files_of_a_named_protocol(tmp_path, name, first, count):
    missing = missing_files(tmp_path / "nowhere", load(name))
    assert missing[0] == f"{tmp_path}/nowhere/{first}"
    assert len(missing) == count == len(set(missing))


def test_a_case_is_the_input_then_the_targets(tmp_path):
    for name in "ab":
        save(tmp_path / name)
    case = next(iter(Cases(tmp_path, OWN)))
    assert (case.name, case.kind, case.numbers) == ("a", "red", (0, 1, 3))
    assert case.white.shape == (3, 3, SIZE, SIZE)
    middle = case.white[:, 0, SIZE // 2, SIZE // 2] * 255
    levels = [round(0.2 * k * 255) / 255 * 153 / 255 + 102 / 255 for k in (0, 1, 3)]
    torch.testing.assert_close(middle, torch.tensor([round(v * 255) for v in levels]).float())
    assert bool((case.mask[:, 0] == (case.photo[3] > 0.5)).all())
    assert case.angles.tolist() == pytest.approx([90, 90], abs=1e-3)


def test_angles_are_the_great_circles(tmp_path):
    places = ((0.0, 0.0, 1.5), (30.0, 0.0, 2.0), (180.0, 0.0, 2.0), (0.0, 80.0, 1.7), (90.0, 45.0, 1.7))
    save(tmp_path / "a", places=places)
    protocol = Protocol("own", (1, 2, 3, 4), size=SIZE)
    assert Cases(tmp_path, protocol).load(ListedObject("a")).angles.tolist() == pytest.approx(
        [30, 180, 80, 90], abs=1e-3
    )


def test_views_without_cameras_have_the_listed_ones(tmp_path):
    save(tmp_path / "a", cameras=False)
    save(tmp_path / "b")
    bare, with_cameras = Cases(tmp_path, LISTED)
    torch.testing.assert_close(bare.camera.world_from_camera, with_cameras.camera.world_from_camera, atol=1e-5, rtol=0)
    assert bare.angles.tolist() == pytest.approx([90, 180], abs=1e-3)


def test_views_from_elsewhere_or_through_another_lens_are_refused(tmp_path):
    save(tmp_path / "a", places=((0.0, 0.0, 1.85), (90.0, 5.0, 1.85), (180.0, 0.0, 1.85), (270.0, 0.0, 1.85)))
    save(tmp_path / "b")
    (tmp_path / "b" / "lens.json").write_text('{"field_of_view": 0.7}')
    cases = Cases(tmp_path, LISTED)
    with pytest.raises(ValueError, match=r"a: view 1 was taken 0\.16 away from where ring has it"):
        cases.load(cases.objects[0])
    with pytest.raises(ValueError, match=r"b: its lens sees 40\.11 degrees, ring has 49\.13"):
        cases.load(cases.objects[1])


def test_larger_views_are_brought_to_size_and_smaller_ones_refused(tmp_path):
    save(tmp_path / "a", size=2 * SIZE)
    save(tmp_path / "b", size=SIZE // 2)
    cases = Cases(tmp_path, OWN)
    large = cases.load(cases.objects[0])
    assert large.white.shape[-1] == SIZE and large.photo.shape == (4, 2 * SIZE, 2 * SIZE)
    with pytest.raises(ValueError, match="b: own needs square views of at least 32 pixels, got 16x16"):
        cases.load(cases.objects[1])


def test_hard_edges_are_all_object(tmp_path):
    """A pixel of alpha 0.6 keeps its colour, as EscherNet's evaluation has it; blended it is mixed with white."""
    for name in "ab":
        save(tmp_path / name)
    hard = Protocol("hard", (1, 3), size=SIZE, sha256="x", edges="hard", objects=OWN.objects)
    white = next(iter(Cases(tmp_path, hard))).white
    assert white[:, 0, SIZE // 2, SIZE // 2].tolist() == pytest.approx([0, 0.2, 0.6], abs=1e-6)
    assert bool((white[:, :, 0, 0] == 1).all())


def test_the_digest_is_of_pictures_and_cameras(tmp_path):
    first, same, turned = tmp_path / "1" / "a", tmp_path / "2" / "a", tmp_path / "3" / "a"
    save(first), save(same), save(turned, places=RING[1:] + RING[:1])
    digests = [
        Cases(p.parent, Protocol("own", (1,), size=SIZE)).load(ListedObject("a")).digest for p in (first, same, turned)
    ]
    assert digests[0] == digests[1] != digests[2]


def test_too_few_views_and_empty_folders_are_refused_in_one_line(tmp_path):
    save(tmp_path / "sets" / "a")
    cases = Cases(tmp_path / "sets", Protocol("own views", (7,), size=SIZE))
    with pytest.raises(ValueError, match="a: own views needs 8 views, it has 4"):
        cases.load(cases.objects[0])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: holds no view sets that match"):
        names_in(tmp_path / "empty")
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        names_in(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no views of c"):
        Cases(tmp_path / "sets", Protocol("own views", (1,), size=SIZE, objects=(ListedObject("c"),)))


def test_scenes_in_nerfs_format_are_asked_for_by_name(tmp_path):
    frames = []
    for k, (image, matrix) in enumerate(zip(pictures(), camera().to_opengl(), strict=True)):
        io.save(tmp_path / "a" / f"r_{k}.png", image)
        frames.append({"file_path": f"r_{k}", "transform_matrix": np.asarray(matrix).tolist()})
    text = __import__("json").dumps({"camera_angle_x": camera().field_of_view, "frames": frames})
    (tmp_path / "a" / "transforms_test.json").write_text(text)
    assert missing_files(tmp_path, OWN) == [f"{tmp_path}: b"]
    case = next(iter(Cases(tmp_path, OWN.only([ListedObject("a")]))))
    assert case.angles.tolist() == pytest.approx([90, 90], abs=1e-3)
