"""Fréchet distance against closed forms and scipy's matrix root; the feature networks against written-out parts."""

import numpy as np
import pytest
import scipy.linalg
import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from zero123.evaluation.distribution import ClipFeatures, InceptionFeatures, frechet_distance, picture_distance
from zero123.evaluation.inception import Inception
from zero123.models.image_encoder import preprocess
from zero123.models.weights import WeightsError


def draws(count, width, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exactly(count, mean, deviation, seed=0):
    """Features whose sample mean and standard deviations are these to the digit, without correlation."""
    raw = draws(count, len(mean), seed)
    white = torch.linalg.qr(raw - raw.mean(0)).Q * (count - 1) ** 0.5
    return white * torch.tensor(deviation, dtype=torch.float64) + torch.tensor(mean, dtype=torch.float64)


def test_of_uncorrelated_normals_it_is_the_closed_form():
    first = exactly(50, [0.0, 1.0, 2.0], [1.0, 2.0, 3.0])
    second = exactly(80, [1.0, 1.0, 0.0], [2.0, 2.0, 0.5], seed=1)
    assert frechet_distance(first, second) == pytest.approx(1 + 0 + 4 + 1 + 0 + 2.5**2)
    assert frechet_distance(first, first + 3) == pytest.approx(3 * 9)
    assert frechet_distance(first, 2 * first) == pytest.approx(float(first.mean(0).square().sum()) + 1 + 4 + 9)


@pytest.mark.parametrize("count", [400, 40, 8])  # more features than pictures, and fewer
def test_it_equals_the_formula_with_scipys_root(count):
    first, second = draws(count, 16) @ draws(16, 16, 1), draws(count + 5, 16, 2) @ draws(16, 16, 3) + 0.3
    (m1, c1), (m2, c2) = ((f.mean(0).numpy(), np.cov(f.numpy(), rowvar=False)) for f in (first, second))
    root = scipy.linalg.sqrtm(c1 @ c2).real
    expected = ((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-5)
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first))
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (torch.zeros(1, 4), torch.zeros(5, 4), r"first must be \(N, 4\) with N over 1, got \(1, 4\)"),
        (torch.zeros(5, 4), torch.zeros(5, 3), r"second must be \(N, 4\) with N over 1, got \(5, 3\)"),
        (torch.full((5, 4), torch.nan), torch.zeros(5, 4), "first must be finite"),
    ],
)
def test_features_that_cannot_be_compared_are_refused(first, second, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(first, second)


def test_pictures_are_compared_in_batches_by_their_features():
    class Corners:
        name = "corners"

        def __call__(self, images):
            assert len(images) <= 4
            return images[:, :, 0, 0]

    images, truths = torch.rand(2, 10, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = frechet_distance(images[..., 0, 0], truths[..., 0, 0])
    assert picture_distance(images, truths, Corners(), batch=4) == pytest.approx(expected)


# Inception


@pytest.fixture(scope="module")
def inception():
    torch.manual_seed(0)
    network = Inception().eval().requires_grad_(False)
    for name, tensor in network.state_dict().items():  # statistics that are not those of an untrained network
        if name.endswith("running_mean"):
            tensor.uniform_(-0.1, 0.1)
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    return network


def _conv(w, name, x, **options):
    x = F.conv2d(x, w[f"{name}.conv.weight"], **options)
    mean, var, gain, shift = (
        w[f"{name}.bn.{k}"][:, None, None] for k in ("running_mean", "running_var", "weight", "bias")
    )
    return F.relu((x - mean) / torch.sqrt(var + 0.001) * gain + shift)


def test_it_has_as_many_weights_as_the_published_network(inception):
    assert sum(p.numel() for p in inception.parameters()) == 21_785_568
    assert sum(name.endswith("conv.weight") for name in inception.state_dict()) == 94


def test_its_blocks_equal_themselves_written_out(inception):
    w, x = inception.state_dict(), torch.rand(1, 192, 9, 9, generator=torch.Generator().manual_seed(1))
    c = lambda n, x, p=0, s=1: _conv(w, f"Mixed_5b.{n}", x, padding=p, stride=s)  # noqa: E731
    ones = torch.ones(1, 1, 9, 9)
    around = F.avg_pool2d(x, 3, 1, 1) / F.avg_pool2d(ones, 3, 1, 1)
    parts = [c("branch1x1", x), c("branch5x5_2", c("branch5x5_1", x), 2)]
    parts += [c("branch3x3dbl_3", c("branch3x3dbl_2", c("branch3x3dbl_1", x), 1), 1), c("branch_pool", around)]
    torch.testing.assert_close(inception.Mixed_5b(x), torch.cat(parts, 1), atol=1e-5, rtol=1e-4)

    x = torch.rand(1, 768, 7, 7, generator=torch.Generator().manual_seed(2))
    c = lambda n, x, p=0, s=1: _conv(w, f"Mixed_6c.{n}", x, padding=p, stride=s)  # noqa: E731
    seven = c("branch7x7_3", c("branch7x7_2", c("branch7x7_1", x), (0, 3)), (3, 0))
    double = c("branch7x7dbl_3", c("branch7x7dbl_2", c("branch7x7dbl_1", x), (3, 0)), (0, 3))
    double = c("branch7x7dbl_5", c("branch7x7dbl_4", double, (3, 0)), (0, 3))
    around = F.avg_pool2d(x, 3, 1, 1) / F.avg_pool2d(torch.ones(1, 1, 7, 7), 3, 1, 1)
    parts = [c("branch1x1", x), seven, double, c("branch_pool", around)]
    torch.testing.assert_close(inception.Mixed_6c(x), torch.cat(parts, 1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["Mixed_7b", "Mixed_7c"])
def test_its_last_blocks_fork_and_pool_in_two_ways(inception, name):
    w, width = inception.state_dict(), {"Mixed_7b": 1280, "Mixed_7c": 2048}[name]
    x = torch.rand(1, width, 5, 5, generator=torch.Generator().manual_seed(3))
    c = lambda n, x, p=0, s=1: _conv(w, f"{name}.{n}", x, padding=p, stride=s)  # noqa: E731
    three = c("branch3x3_1", x)
    double = c("branch3x3dbl_2", c("branch3x3dbl_1", x), 1)
    average = F.avg_pool2d(x, 3, 1, 1) / F.avg_pool2d(torch.ones(1, 1, 5, 5), 3, 1, 1)
    around = average if name == "Mixed_7b" else F.max_pool2d(x, 3, 1, 1)
    parts = [c("branch1x1", x), c("branch3x3_2a", three, (0, 1)), c("branch3x3_2b", three, (1, 0))]
    parts += [c("branch3x3dbl_3a", double, (0, 1)), c("branch3x3dbl_3b", double, (1, 0)), c("branch_pool", around)]
    torch.testing.assert_close(inception.get_submodule(name)(x), torch.cat(parts, 1), atol=1e-5, rtol=1e-4)


def test_the_stem_and_the_blocks_that_shrink_have_the_published_sizes(inception):
    sizes, handles = {}, []
    for name in ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_6a", "Mixed_7a"):
        handles.append(
            inception.get_submodule(name).register_forward_hook(
                lambda module, inputs, output, name=name: sizes.update({name: tuple(output.shape[1:])})
            )
        )
    assert inception(torch.zeros(1, 3, 299, 299)).shape == (1, 2048)
    for handle in handles:
        handle.remove()
    assert list(sizes.values()) == [
        (32, 149, 149), (32, 147, 147), (64, 147, 147), (192, 71, 71), (768, 17, 17), (1280, 8, 8)
    ]  # fmt: skip


def test_inception_weights_come_from_a_file_of_the_published_layout(tmp_path, inception):
    state = dict(inception.state_dict())
    state |= {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    state["Mixed_7c.branch_pool.bn.num_batches_tracked"] = torch.tensor(0)
    save_file(state, tmp_path / "inception.safetensors")
    features = InceptionFeatures(tmp_path / "inception.safetensors")
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    large = F.interpolate(picture, (299, 299), mode="bilinear", align_corners=False)
    torch.testing.assert_close(features(picture), inception(2 * large - 1))
    assert features.name == "fid_inception"


def test_the_inception_of_imagenet_is_refused(tmp_path):
    for classes, found in ((1000, "one of 1000 classes"), (None, "no fc.weight")):
        state = {"a": torch.zeros(1)} | ({"fc.weight": torch.zeros(classes, 2)} if classes else {})
        save_file(state, tmp_path / "other.safetensors")
        with pytest.raises(WeightsError, match=f"FID needs pt_inception-2015-12-05, of 1008 classes, got {found}"):
            InceptionFeatures(tmp_path / "other.safetensors")


# CLIP

VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}


def test_clip_features_are_its_projected_embeddings(tmp_path):
    torch.manual_seed(0)
    network = CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION, projection_dim=12)).eval()
    network.save_pretrained(tmp_path)
    picture = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(pixel_values=preprocess(picture, 32)).image_embeds
    features = ClipFeatures(tmp_path)
    torch.testing.assert_close(features(picture), expected)
    assert features(torch.rand(1, 3, 50, 50)).shape == (1, 12) and features.name == "fid_clip"


def test_a_whole_clip_gives_its_vision_tower(tmp_path):
    torch.manual_seed(0)
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"vocab_size": 8, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    whole = CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=12)).eval()
    whole.save_pretrained(tmp_path)
    picture = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        tower = whole.vision_model(pixel_values=preprocess(picture, 32))
        expected = whole.visual_projection(tower.pooler_output)
    torch.testing.assert_close(ClipFeatures(tmp_path)(picture), expected)


def test_a_folder_without_a_vision_tower_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="CLIP: the folder holds no vision_model"):
        ClipFeatures(tmp_path)
