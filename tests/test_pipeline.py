"""`NovelViews`: same seed, same pictures, whatever the batch; honest progress; mistakes said in one line."""

import functools
import math
from dataclasses import replace

import pytest
import torch

from tiny_model import SIZE, blobs, tiny_view_model
from zero123.diffusion.sampling import Begin, SamplingSettings
from zero123.geometry.orbit import RADIUS, OrbitPose, RelativePose, relative_moves
from zero123.images import io
from zero123.images.io import PictureError
from zero123.models.pretrained import save_model
from zero123.models.running import picture_bytes, view_bytes, weights_bytes
from zero123.models.view_settings import ViewModelSettings
from zero123.pipeline import NovelViews, Wanted

MOVES = relative_moves([0.0, 30.0, 60.0, 90.0, 180.0, -90.0, -60.0, -30.0], [10.0], [0.0])


@functools.cache
def views():
    return NovelViews(tiny_view_model())


def ball(size=40):
    """A red ball with transparency around it, (4, size, size)."""
    place = (torch.arange(size) + 0.5) / size * 2 - 1
    alpha = ((0.7 - torch.hypot(place[:, None], place[None])) * size / 2).clamp(0, 1)
    return torch.stack((0.5 + 0.4 * place[:, None].expand(size, size), *[torch.full((size, size), 0.2)] * 2, alpha))


@functools.cache
def photo():
    return views().prepare(ball())


def draw(relative=MOVES, source=None, progress=None, **settings):
    return views()(photo(), relative, SamplingSettings(steps=2, **settings), source, progress)


def test_a_picture_is_framed_as_the_model_knows_objects():
    assert photo().matte.method == "alpha"
    assert photo().rgba.shape == (4, SIZE, SIZE)
    assert photo().mask.shape == (1, 40, 40)
    rows = (photo().rgba[3] > 0.5).any(1).nonzero()
    assert rows.max() - rows.min() + 1 == pytest.approx(0.6 * SIZE, abs=1)
    assert photo().on_white[:, 0, 0].tolist() == [1, 1, 1]


def test_a_file_and_its_tensor_are_prepared_alike(tmp_path):
    io.save(tmp_path / "ball.png", ball())
    again = views().prepare(io.load(tmp_path / "ball.png"))
    assert torch.equal(views().prepare(tmp_path / "ball.png").rgba, again.rgba)


def test_views_are_plain_pictures():
    pictures = draw(MOVES[:2])
    assert pictures.shape == (2, 3, SIZE, SIZE)
    assert pictures.dtype == torch.float32
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    weight = torch.ones(1, requires_grad=True)
    (pictures * weight).sum().backward()  # whoever learns from the views can
    assert weight.grad is not None


@pytest.mark.parametrize("solver", ["dpmpp_2m", "euler", "ancestral"])
@pytest.mark.parametrize("same_noise", [True, False])
def test_same_seed_same_pictures_whatever_the_batch(solver, same_noise):
    whole = draw(solver=solver, same_noise=same_noise, batch=8)
    assert torch.equal(draw(solver=solver, same_noise=same_noise, batch=8), whole)
    for batch in (1, 3):
        torch.testing.assert_close(
            draw(solver=solver, same_noise=same_noise, batch=batch), whole, atol=1e-4, rtol=0, msg=f"batch {batch}"
        )


def test_view_number_v_has_the_noise_of_seed_plus_v():
    apart = draw(same_noise=False, seed=5)
    for v in (0, 3):
        torch.testing.assert_close(draw(MOVES[v : v + 1], seed=5 + v), apart[v : v + 1], atol=1e-4, rtol=0)


def test_views_that_begin_from_pictures_stay_nearer_to_them_the_less_they_are_noised():
    first = draw()
    target = blobs(len(MOVES))
    away = []
    for strength in (0.05, 0.5, 1.0):
        again = views()(photo(), MOVES, SamplingSettings(steps=2), begin=Begin(target, strength))
        away.append(float((again - target).abs().mean()))
    assert away[0] < away[1] < away[2]
    assert not torch.equal(first, views()(photo(), MOVES, SamplingSettings(steps=2), begin=Begin(target, 0.5)))


def test_another_seed_gives_other_pictures():
    assert (draw(seed=1) - draw(seed=2)).abs().max() > 0.01


def test_scale_one_is_the_model_itself():
    calls = []
    model = views().model
    handle = model.unet.register_forward_pre_hook(lambda module, inputs: calls.append(len(inputs[0])))
    try:
        draw(MOVES[:2], scale=1.0)
        draw(MOVES[:2], scale=2.0)
    finally:
        handle.remove()
    assert calls == [2, 2, 4, 4]


@pytest.mark.parametrize("spacing", ["trailing", "original"])
@pytest.mark.parametrize("batch", [3, 8])
def test_progress_rises_to_its_end(spacing, batch):
    told = []
    views()(
        photo(),
        MOVES,
        SamplingSettings(steps=10, spacing=spacing, batch=batch, scale=1),
        progress=lambda done, total: told.append((done, total)),
    )
    total = (9 if spacing == "original" else 10) * math.ceil(8 / batch)
    assert told == [(k, total) for k in range(1, total + 1)]


def test_steps_and_scale_left_open_are_the_models():
    model = views().model.settings
    whole = views()(photo(), MOVES[:1])
    asked = views()(photo(), MOVES[:1], SamplingSettings(steps=model.steps, scale=model.scale))
    assert torch.equal(whole, asked)


def test_views_end_where_the_volume_does():
    model = tiny_view_model()
    faint = NovelViews(model)(photo(), MOVES[:2], SamplingSettings(steps=1))
    model.settings = replace(model.settings, outline=0.9)
    with torch.no_grad():
        model.feature_volume.network.conv_out.bias.fill_(-10.0)  # of a density so low that light passes everywhere
        assert bool((NovelViews(model)(photo(), MOVES[:2], SamplingSettings(steps=1)) == 1).all())
    assert not bool((faint == 1).all())
    with pytest.raises(ValueError, match="outline must be from 0 to 1, and 0 without a volume"):
        ViewModelSettings(outline=0.5)


@pytest.mark.parametrize("drafts", [True, False])
def test_the_belief_in_views_is_the_drafts_outline_or_the_volumes_opacity(drafts):
    model = tiny_view_model()
    model.draft = model.draft if drafts else None
    drawer = NovelViews(model)
    source = drawer.source(photo())
    believed = drawer.belief(photo(), MOVES, source).opacity
    size = model.settings.image_size
    assert believed.shape == (len(MOVES), size, size) and bool(((believed >= 0) & (believed <= 1)).all())
    with torch.no_grad():
        _, seen = model.join_projected(model.look(photo().on_white[None], source), MOVES)
    shown = torch.nn.functional.interpolate(seen.opacity, (size, size), mode="bicubic")[:, 0].clamp(0, 1)
    torch.testing.assert_close(believed, seen.outline[:, 0] if drafts else shown, atol=1e-5, rtol=0)
    assert float(seen.opacity.std()) > 0.001
    assert NovelViews(tiny_view_model(volume=False)).belief(photo(), MOVES, source) is None


def test_the_source_is_where_the_networks_read_it():
    source = views().source(photo())
    read = views().model.place_reader(photo().on_white[None])
    torch.testing.assert_close((source.elevation, source.radius), (read.elevation.detach(), read.radius.detach()))
    assert float(source.azimuth) == 0 and float(source.radius) == pytest.approx(RADIUS, rel=0.5)
    assert torch.equal(draw(source=source), draw())


def test_a_known_source_is_used():
    source = OrbitPose.from_degrees([0.0], [50.0], [RADIUS])
    told = draw(source=source)
    assert (told - draw()).abs().max() > 1e-3
    torch.testing.assert_close(draw(source=source[0]), told)


def test_a_source_for_other_views_and_no_views_are_refused():
    with pytest.raises(ValueError, match=r"source must be \(1,\), got shape \(2,\)"):
        draw(source=OrbitPose(torch.zeros(2), torch.zeros(2), torch.ones(2)))
    for relative in (MOVES[:0], RelativePose.from_degrees(30.0, 0.0)):
        with pytest.raises(ValueError, match=r"relative must be \(V,\) with V over 0"):
            draw(relative)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"steps": 1001},
        {"scale": -1.0},
        {"scale": float("nan")},
        {"seed": -1},
        {"seed": 2**64},
        {"batch": 0},
        {"samples": 0},
        {"solver": "magic"},
        {"spacing": "magic"},
    ],
)
def test_settings_out_of_range_are_named_with_what_came(wrong):
    name, value = next(iter(wrong.items()))
    with pytest.raises(ValueError, match=rf"^{name} must be .*, got {value!r}$"):
        SamplingSettings(**wrong)


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        (([float("nan")], [0.0], [0.0]), "azimuth_deg must be a number from -360 to 360, got nan"),
        (([0.0], [float("inf")], [0.0]), "elevation_deg must be a number from -180 to 180, got inf"),
        (([0.0], [0.0], [1.5]), "radius must be a number from -1 to 1, got 1.5"),
        (([361.0], [0.0], [0.0]), "azimuth_deg must be a number from -360 to 360, got 361"),
        (([0.0, 1.0], [0.0] * 3, [0.0]), "give one value for all views or one for each, got 2 azimuth_deg, 3 elev"),
        (([], [0.0], [0.0]), "give one value for all views or one for each, got 0 azimuth_deg"),
        (([], [], []), "give one value for all views or one for each, got 0 azimuth_deg"),
    ],
)
def test_impossible_moves_are_refused_in_one_line(lists, message):
    with pytest.raises(ValueError, match=message) as error:
        relative_moves(*lists)
    assert "\n" not in str(error.value)


def test_moves_spread_single_values_and_speak_degrees():
    moves = relative_moves([90.0, -180.0], [45.0], [0.5])
    torch.testing.assert_close(moves.azimuth, torch.tensor([math.pi / 2, -math.pi]))
    torch.testing.assert_close(moves.elevation, torch.tensor([math.pi / 4] * 2))
    assert moves.radius.tolist() == [0.5, 0.5]


def test_five_lines_of_python(tmp_path):
    save_model(tiny_view_model(), tmp_path / "model")
    again = NovelViews.from_pretrained(tmp_path / "model", device="cpu", dtype=torch.float32)
    # Not to the bit: where in memory a file's numbers lie decides which kernels some machines use.
    torch.testing.assert_close(again(again.prepare(ball()), MOVES[:2]), views()(photo(), MOVES[:2]), atol=1e-5, rtol=0)


def test_half_the_precision_gives_nearly_the_same_pictures(tmp_path):
    save_model(tiny_view_model(), tmp_path / "model")
    half = NovelViews.from_pretrained(tmp_path / "model", device="cpu", dtype=torch.bfloat16)
    pictures = half(half.prepare(ball()), MOVES[:2])
    assert pictures.dtype == torch.float32
    assert (pictures - views()(photo(), MOVES[:2])).abs().mean() < 0.05


@pytest.mark.parametrize("device", ["abacus", "meta", "cuda:77"])
def test_a_device_that_is_not_there_is_named(device):
    with pytest.raises(ValueError, match=f"device '{device}' cannot be used on this machine"):
        NovelViews.from_pretrained("mini", device=device)


def test_samples_lie_side_by_side_and_are_those_of_their_seeds():
    both = draw(MOVES[:2], samples=2, seed=3)
    first, second = draw(MOVES[:2], seed=3), draw(MOVES[:2], seed=4)
    expected = torch.stack((first[0], second[0], first[1], second[1]))
    torch.testing.assert_close(both, expected, atol=1e-4, rtol=0)


def test_samples_know_where_they_differ():
    settings = SamplingSettings(steps=2, samples=3)
    samples = views().samples(photo(), MOVES[:2], settings)
    pictures = views()(photo(), MOVES[:2], settings)
    assert torch.equal(samples.pictures.flatten(0, 1), pictures)
    doubt = views().belief(photo(), MOVES[:2]).doubt
    assert doubt.shape == samples.spread.shape and bool((doubt > 0).all())
    torch.testing.assert_close(samples.spread[1], (pictures[3:].var(0).mean(0) + doubt[1].square()).sqrt())
    assert samples.spread.shape == (2, SIZE, SIZE) and samples.spread.max() > 0


def rows_per_call(limited):
    calls = []
    handle = limited.model.unet.register_forward_pre_hook(lambda module, inputs: calls.append(len(inputs[0])))
    try:
        pictures = limited(photo(), MOVES, SamplingSettings(steps=1, scale=2.0))
    finally:
        handle.remove()
    return calls, pictures


def test_a_memory_limit_makes_smaller_calls_and_the_same_pictures():
    model = views().model
    enough = weights_bytes(model) + 1_100_000_000 + max(picture_bytes(model), 3 * view_bytes(model))
    fitting = (enough - weights_bytes(model) - 1_100_000_000) // view_bytes(model)
    calls, pictures = rows_per_call(NovelViews(model, max_memory=(enough + 1) / 1e9))
    assert max(calls) == 2 * min(8, fitting)
    all_at_once, expected = rows_per_call(NovelViews(model))
    assert all_at_once == [16]
    torch.testing.assert_close(pictures, expected, atol=1e-4, rtol=0)
    with pytest.raises(
        ValueError, match=r"max_memory of 0.1 GB is too little: one view with this model takes 1\.\d GB"
    ):
        NovelViews(model, max_memory=0.1)


def test_offloaded_networks_are_on_the_device_only_while_they_work(monkeypatch):
    model = tiny_view_model()
    names = {model.unet: "unet", model.image_encoder: "encoder", model.autoencoder: "autoencoder"}
    moves = []
    for network, name in names.items():
        move = network.to
        monkeypatch.setattr(network, "to", lambda d, name=name, move=move: (moves.append((name, str(d))), move(d))[1])
    here = torch.device("cpu", 0)  # the same memory under another name, to tell there from back
    offloaded = NovelViews(model, device=here, offload=True)
    pictures = offloaded(photo(), MOVES, SamplingSettings(steps=2))
    stages = [("encoder", "autoencoder"), ("unet",), ("autoencoder",)]
    expected = [(name, place) for stage in stages for place in ("cpu:0", "cpu") for name in stage]
    assert moves == expected
    assert torch.equal(pictures, draw())


def test_a_network_that_fails_at_work_is_taken_off_the_device_again(monkeypatch):
    model = tiny_view_model()
    offloaded = NovelViews(model, device=torch.device("cpu", 0), offload=True)
    moves, move = [], model.unet.to
    monkeypatch.setattr(model.unet, "to", lambda d: (moves.append(str(d)), move(d))[1])
    monkeypatch.setattr(model.unet, "forward", lambda *a, **k: (_ for _ in ()).throw(RuntimeError("out of memory")))
    with pytest.raises(RuntimeError, match="out of memory"):
        offloaded(photo(), MOVES[:1])
    assert moves == ["cpu:0", "cpu"]


def test_weights_in_eight_bits_give_nearly_the_same_pictures(tmp_path):
    save_model(tiny_view_model(), tmp_path / "model")
    light = NovelViews.from_pretrained(tmp_path / "model", device="cpu", dtype=torch.float32, int8=True)
    assert (light(photo(), MOVES[:2]) - views()(photo(), MOVES[:2])).abs().mean() < 0.05
    assert weights_bytes(light.model) < 0.7 * weights_bytes(views().model)


def test_an_empty_picture_and_an_unknown_method_are_refused():
    with pytest.raises(PictureError, match="transparent everywhere"):
        views().prepare(torch.zeros(4, 32, 32))
    with pytest.raises(ValueError, match="method"):
        views().prepare(ball(), "magic")
    with pytest.raises(ValueError, match=r"must be \(1\|3\|4, H, W\)"):
        views().prepare(torch.zeros(2, 32, 32))


def test_shapes_of_one_view_hold_for_many_photos_of_blobs():
    look = views().model.look(blobs(2))
    assert look.tokens.shape == (2, 16, 16)
    assert look.latent.shape == (2, *views().model.latent_shape)


def test_views_of_several_photos_in_one_call_are_those_drawn_alone():
    other = views().prepare(ball(30).flip(1))
    settings = SamplingSettings(steps=2, samples=2, scale=1.0)
    wanted = [
        Wanted(photo(), MOVES[:3], seed=1),
        Wanted(other, MOVES[3:4], OrbitPose.from_degrees([0.0], [40.0], [1.85]), seed=7),
        Wanted(photo(), MOVES[5:6]),
    ]
    calls = []
    handle = views().model.unet.register_forward_pre_hook(lambda module, inputs: calls.append(len(inputs[0])))
    try:
        together = views().together(wanted, settings)
    finally:
        handle.remove()
    assert calls == [8, 8, 2, 2]  # ten pictures of three photos, at most eight in a call
    for one, pictures in zip(wanted, together, strict=True):
        alone = views()(one.photo, one.relative, replace(settings, seed=one.seed or 0), one.source)
        torch.testing.assert_close(pictures, alone, atol=1e-4, rtol=0)


def test_joint_views_see_only_their_own_photo():
    wanted = [Wanted(photo(), MOVES[:2]), Wanted(photo(), MOVES[2:4], seed=3)]
    settings = SamplingSettings(steps=1, joint=True)
    together = views().together(wanted, settings)
    assert torch.equal(together[1], views()(photo(), MOVES[2:4], replace(settings, seed=3)))
