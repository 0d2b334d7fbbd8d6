"""LPIPS against forward passes written out by hand with the same weights; files are read safely and strictly."""

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from zero123.evaluation.perceptual import BACKBONES, TAPS, Lpips, lpips_in, missing_files
from zero123.models.weights import WeightsError

NETS = tuple(TAPS)


def network(net, seed=0):
    torch.manual_seed(seed)
    return Lpips(net).eval().requires_grad_(False)


def pair(seed=0, size=64):
    return torch.rand(2, 3, 3, size, size, generator=torch.Generator().manual_seed(seed))


# The networks written out in plain functions


def _alex(x, w):
    conv = lambda x, k, **options: F.relu(F.conv2d(x, w[f"{k}.weight"], w[f"{k}.bias"], **options))  # noqa: E731
    one = conv(x, 0, stride=4, padding=2)
    two = conv(F.max_pool2d(one, 3, 2), 3, padding=2)
    three = conv(F.max_pool2d(two, 3, 2), 6, padding=1)
    four = conv(three, 8, padding=1)
    return [one, two, three, four, conv(four, 10, padding=1)]


def _vgg(x, w):
    found = []
    for block in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)):
        x = F.max_pool2d(x, 2, 2) if found else x
        for k in block:
            x = F.relu(F.conv2d(x, w[f"{k}.weight"], w[f"{k}.bias"], padding=1))
        found.append(x)
    return found


def _squeeze(x, w):
    def fire(x, k):
        conv = lambda x, n, p: F.relu(F.conv2d(x, w[f"{k}.{n}.weight"], w[f"{k}.{n}.bias"], padding=p))  # noqa: E731
        x = conv(x, "squeeze", 0)
        return torch.cat((conv(x, "expand1x1", 0), conv(x, "expand3x3", 1)), 1)

    pool = lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True)  # noqa: E731
    one = F.relu(F.conv2d(x, w["0.weight"], w["0.bias"], stride=2))
    two = fire(fire(pool(one), 3), 4)
    three = fire(fire(pool(two), 6), 7)
    four = fire(pool(three), 9)
    five = fire(four, 10)
    six = fire(five, 11)
    return [one, two, three, four, five, six, fire(six, 12)]


FORWARD = {"alex": _alex, "vgg": _vgg, "squeeze": _squeeze}


def by_hand(net, lpips, image, truth):
    weights = {k.removeprefix("features."): v for k, v in lpips.state_dict().items() if k.startswith("features.")}
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    whole = 0
    sides = [FORWARD[net](((x * 2 - 1) - shift[:, None, None]) / scale[:, None, None], weights) for x in (image, truth)]
    for k, (a, b) in enumerate(zip(*sides, strict=True)):
        a, b = (v / (v.pow(2).sum(1, keepdim=True).sqrt() + 1e-10) for v in (a, b))
        whole = whole + F.conv2d((a - b) ** 2, lpips.state_dict()[f"linear.{k}"]).mean((1, 2, 3))
    return whole


@pytest.mark.parametrize("net", NETS)
def test_it_equals_the_network_written_out(net):
    lpips, (image, truth) = network(net), pair()
    torch.testing.assert_close(lpips(image, truth), by_hand(net, lpips, image, truth), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("net", "count"), [("alex", 2_469_696), ("vgg", 14_714_688), ("squeeze", 722_496)])
def test_the_backbone_has_as_many_weights_as_the_published_one(net, count):
    assert sum(p.numel() for p in Lpips(net).features.parameters()) == count


@pytest.mark.parametrize("net", NETS)
def test_equal_pictures_have_no_distance_and_order_does_not_matter(net):
    lpips, (image, truth) = network(net), pair()
    assert lpips(image, image).tolist() == [0, 0, 0]
    assert (lpips(image, truth) > 0).all()
    torch.testing.assert_close(lpips(image, truth), lpips(truth, image))
    torch.testing.assert_close(lpips(image[1:2], truth[1:2]), lpips(image, truth)[1:2])  # whatever else is in the batch


def test_more_noise_is_further_away():
    lpips, (image, truth) = network("alex"), pair()
    near, far = (lpips(image + share * (truth - image), image) for share in (0.1, 0.6))
    assert (near < far).all()


def files(folder, net, seed=0, ending=".safetensors"):
    """Weight files as torchvision and the lpips package lay them out; the network they hold."""
    folder.mkdir(exist_ok=True)
    lpips = network(net, seed)
    state = lpips.state_dict()
    backbone = {k: v for k, v in state.items() if k.startswith("features.")}
    backbone["classifier.1.weight"] = torch.zeros(2, 2)
    linear = {f"lin{k}.model.1.weight": state[f"linear.{k}"] for k in range(len(TAPS[net]))}
    paths = folder / f"{BACKBONES[net]}-12345678{ending}", folder / f"{net}{ending}"
    for path, tensors in zip(paths, (backbone, linear), strict=True):
        save_file(tensors, path) if ending == ".safetensors" else torch.save(tensors, path)
    return lpips, *paths


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_weights_come_from_files_of_the_published_layouts(tmp_path, net, ending):
    lpips, backbone, linear = files(tmp_path, net, ending=ending)
    image, truth = pair()
    assert torch.equal(Lpips.load(net, backbone, linear)(image, truth), lpips(image, truth))
    assert list(lpips_in(tmp_path)) == [f"lpips_{net}"]


def test_without_weights_the_files_that_are_needed_are_named(tmp_path):
    with pytest.raises(WeightsError) as error:
        lpips_in(tmp_path)
    line = str(error.value)
    assert "\n" not in line
    for name in ("alexnet*.safetensors", "vgg16*.safetensors", "squeezenet1_1*.safetensors", "alex.safetensors"):
        assert name in line
    _, backbone, _ = files(tmp_path, "alex")
    assert "alex" not in missing_files(tmp_path).replace("SqueezeNet", "")
    backbone.unlink()
    assert missing_files(tmp_path).startswith("LPIPS alex needs alexnet*.safetensors or .pth; LPIPS vgg needs vgg16*")


def test_weights_of_another_network_are_refused(tmp_path):
    _, alex, alex_linear = files(tmp_path / "a", "alex")
    _, squeeze, squeeze_linear = files(tmp_path / "s", "squeeze")
    with pytest.raises(WeightsError, match="LPIPS alex: missing tensors features"):
        Lpips.load("alex", squeeze, alex_linear)
    with pytest.raises(WeightsError, match=r"squeeze.safetensors: must hold 5 tensors lin\*.model.1.weight, holds 7"):
        Lpips.load("alex", alex, squeeze_linear)
    with pytest.raises(WeightsError, match=r"holds no tensors features\.\*; expected torchvision's alexnet"):
        Lpips.load("alex", alex_linear, alex_linear)
    with pytest.raises(WeightsError, match="no such file"):
        Lpips.load("alex", tmp_path / "nothing.pth", alex_linear)
    with pytest.raises(ValueError, match="net must be one of alex, vgg, squeeze, got 'resnet'"):
        Lpips("resnet")
