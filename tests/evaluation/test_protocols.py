"""Protocols are frozen, say what their sources say, and refuse what is not one."""

import json
import math

import pytest
import torch

from zero123.data.render.batch import view_of
from zero123.data.render.cameras import read_cameras
from zero123.data.render.source import Source
from zero123.evaluation import own_views, protocols
from zero123.evaluation.protocols import ListedObject, Protocol, departures, load, parse, read_objects
from zero123.geometry.camera import FIELD_OF_VIEW
from zero123.geometry.paths import cube_normalised

FROZEN = {
    "corpus-test": (1, "c6b9e5b48c07150c4685c31f0996de800e6f1e4044213076e3200009d5a2644b"),
    "gso30-25": (1, "d4dec7041c201405c9d03848f69135bfe747ce46b87c7c2eb11212d7e6e9091c"),
    "procedural-heldout": (1, "01d9d9ce43886346a4732dfa1100348a8efce93f8bb379c631d25c1cd973f13b"),
    "sync16": (1, "6001fa8f21fa45c281e583076bfe5cef00f8dbb3a02cbdfae545df71af33c364"),
    "z123-random": (1, "9a6e48fd4797f04ee5730b5af255cda394f1190fd8529ab5089ee7ee646b5449"),
}


@pytest.mark.parametrize("name", sorted(FROZEN))
def test_a_protocol_is_frozen(name):
    """A change makes a new version, with a new hash; numbers of two versions never stand in one table."""
    assert (load(name).version, load(name).sha256) == FROZEN[name]


def test_the_frozen_ones_are_all_there_are():
    assert protocols.names() == sorted(FROZEN)


def test_sync16_is_a_ring_of_sixteen_cameras():
    one = load("sync16")
    assert one.cameras == tuple((22.5 * k, 30.0, 1.5) for k in range(16))
    assert (one.input, one.targets, one.size, one.camera_rule) == (0, tuple(range(1, 16)), 256, "listed")
    assert math.isclose(one.field_of_view, FIELD_OF_VIEW, abs_tol=1e-7)


def test_gso30_25_makes_the_last_fifteen_views_of_the_same_objects():
    one = load("gso30-25")
    assert (one.targets, one.views, one.edges) == (tuple(range(10, 25)), 25, "hard")
    assert [o.name for o in one.objects] == [o.name for o in load("sync16").objects]
    assert len(one.objects) == 30


def test_the_random_views_are_the_originals_draw_and_can_be_rendered_from_the_file():
    one = load("z123-random")
    drawn = cube_normalised(17, torch.Generator().manual_seed(0))
    azimuth, elevation, radius = (torch.tensor(v) for v in zip(*one.cameras, strict=True))
    torch.testing.assert_close(torch.deg2rad(azimuth), drawn.azimuth, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.deg2rad(elevation), drawn.elevation, atol=1e-5, rtol=0)
    torch.testing.assert_close(radius, drawn.radius, atol=1e-5, rtol=0)
    assert one.objects is None and len(one.targets) == 16
    with protocols.resources.as_file(protocols._home().joinpath("z123-random.json")) as path:
        assert len(read_cameras(path)) == 17


@pytest.mark.parametrize("name", ["corpus-test", "procedural-heldout"])
def test_our_cameras_are_those_that_our_renderer_draws(name):
    one = load(name)
    settings = own_views.settings_of(one)
    for listed in one.objects[::9]:
        camera, _ = view_of(Source(listed.name, None, listed.seed or 0), settings)
        azimuth, elevation, radius = (torch.tensor(v) for v in zip(*one.places(listed), strict=True))
        torch.testing.assert_close(camera.orbit().azimuth, torch.deg2rad(azimuth), atol=1e-5, rtol=0)
        torch.testing.assert_close(camera.orbit().elevation, torch.deg2rad(elevation), atol=1e-5, rtol=0)
        torch.testing.assert_close(camera.orbit().radius, radius, atol=1e-5, rtol=0)


def test_the_corpus_has_two_kinds():
    kinds = [one.kind for one in load("corpus-test").objects]
    assert (kinds.count("textured"), kinds.count("flat"), len(kinds)) == (34, 100, 134)


def test_held_out_objects_are_far_from_every_seed_that_recipes_take():
    seeds = [one.seed for one in load("procedural-heldout").objects]
    assert seeds == list(range(900_000_000, 900_000_072))
    assert all(one.name == f"procedural-{one.seed}" for one in load("procedural-heldout").objects)


def test_what_is_done_otherwise_is_said():
    one = load("sync16")
    assert departures(one, one.objects, False, 0, 1) == ()
    told = departures(one, one.objects[:12], True, 3, 4)
    assert told == ("12 of its 30 objects", "the input's place is told", "seed 3, not 0", "samples 4, not 1")


def test_objects_keep_their_kinds_and_strangers_are_refused():
    one = load("corpus-test")
    assert one.only([ListedObject("kenney_cube")]).objects[0].kind == "flat"
    with pytest.raises(ValueError, match="corpus-test has no object 'chair'"):
        one.only([ListedObject("chair")])
    assert Protocol("own", (1,)).only([ListedObject("a", "b")]).objects == (ListedObject("a", "b"),)


def test_a_list_of_objects_names_kinds_or_not(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("# a comment\nchair soft\n\ncup\n")
    assert read_objects(path) == [ListedObject("chair", "soft"), ListedObject("cup")]
    for text, message in (("", "names no objects"), ("a b c\n", "expected NAME"), ("a\na\n", "one of them twice")):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_objects(path)
    with pytest.raises(ValueError, match="no readable list"):
        read_objects(tmp_path / "nowhere")


def test_a_protocol_of_ones_own_is_read_from_its_file(tmp_path):
    content = json.loads(protocols._home().joinpath("sync16.json").read_text())
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**content, "name": "mine", "targets": [8]}))
    assert load(str(path)).targets == (8,)
    assert load(str(path)).sha256 != load("sync16").sha256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": []}, "targets must be different views"),
        ({"targets": [0, 1]}, "not the input"),
        ({"edges": "soft"}, "edges must be one of"),
        ({"bins_deg": [60, 30, 180]}, "bins must rise"),
        ({"background": "black"}, "background must be white"),
        ({"objects": []}, "objects must be at least one"),
        ({"cameras": []}, "listed cameras are needed for all 16 views of alarm"),
        ({"size": ...}, "KeyError"),
    ],
)
def test_what_is_no_protocol_is_refused_in_one_line(change, message):
    content = json.loads(protocols._home().joinpath("sync16.json").read_text())
    content.update(change)
    data = json.dumps({k: v for k, v in content.items() if v is not ...}).encode()
    with pytest.raises(ValueError, match=message) as error:
        parse(data, "mine.json")
    assert str(error.value).startswith("mine.json: not a protocol")
    assert "\n" not in str(error.value)


def test_an_unknown_protocol_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="no protocol 'sync61'; there are corpus-test, gso30-25"):
        load("sync61")
    with pytest.raises(ValueError, match="no readable protocol"):
        load(str(tmp_path / "mine.json"))
