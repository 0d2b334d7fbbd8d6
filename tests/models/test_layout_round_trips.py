"""Every layout that is written is read back to the bit, and other programs load it their own way."""

import json
import sys
import types

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, UNet2DConditionModel
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

import zero123.models.export as export
from deterministic import GOLDEN, manifest, tiny_state
from tiny_model import tiny_view_model
from zero123.models.autoencoder import Autoencoder
from zero123.models.export import LAYOUTS, export_model, original_state, schedule_tables
from zero123.models.image_encoder import ImageEncoder
from zero123.models.pose_conditioning import PoseConditioning
from zero123.models.pretrained import load_model, load_start
from zero123.models.view_model import ViewModel
from zero123.models.view_settings import ViewModelSettings
from zero123.models.weights import WeightsError, from_original, open_checkpoint

OTHERS = [layout for layout in LAYOUTS if layout != "folder"]
PLACES = dict.fromkeys(LAYOUTS, "model") | {"safetensors": "model.safetensors", "ckpt": "model.ckpt"}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A checkpoint as a training program leaves it."""
    path = tmp_path_factory.mktemp("source") / "tiny.ckpt"
    moments = {0: {"step": 1, "exp_avg": torch.ones(5)}}
    torch.save(
        {"state_dict": tiny_state(), "global_step": 3, "optimizer_states": [{"state": moments}], "epoch": 0}, path
    )
    return path


@pytest.fixture(scope="module")
def model(source):
    return load_model(source)


def same(one, other):
    assert one.settings == other.settings
    same_tensors(one.state_dict(), other.state_dict())


def same_tensors(expected, found):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype and torch.equal(found[key], value), key


def recast(model, change):
    return {key: change(value) for key, value in model.state_dict().items()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_model_comes_back_to_the_bit(model, tmp_path, layout):
    export_model(model, tmp_path / PLACES[layout], layout)
    again = load_model(tmp_path / PLACES[layout])
    same(model, again)
    assert not again.training
    assert [path.name for path in tmp_path.iterdir()] == [PLACES[layout]]


def test_a_model_comes_back_to_the_bit_through_all_layouts_in_a_row(model, tmp_path):
    current = model
    for number, layout in enumerate((*LAYOUTS, *reversed(LAYOUTS))):
        place = tmp_path / str(number) / PLACES[layout]
        place.parent.mkdir()
        export_model(current, place, layout)
        current = load_model(place)
    same(model, current)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_half_precision_stays_what_it_is(model, tmp_path, layout):
    dtype = torch.bfloat16 if layout == "ckpt" else torch.float16
    export_model(model, tmp_path / PLACES[layout], layout, dtype)
    same_tensors(recast(model, lambda t: t.to(dtype)), load_model(tmp_path / PLACES[layout], None).state_dict())


def test_mixed_precision_is_kept_when_no_type_is_asked_for(tmp_path):
    state = {k: v.half() if k.startswith("cond_stage") else v for k, v in tiny_state().items()}
    torch.save(state, tmp_path / "mixed.ckpt")
    mixed = load_model(tmp_path / "mixed.ckpt", None)
    assert mixed.image_encoder.network.dtype == torch.float16
    assert mixed.unet.dtype == torch.float32
    export_model(mixed, tmp_path / "mixed.safetensors", "safetensors")
    same(mixed, load_model(tmp_path / "mixed.safetensors", None))


def test_settings_no_other_layout_has_a_place_for_come_back(tmp_path, model):
    settings = ViewModelSettings(name="mine", licence="CC0", pose_format="source_polar", null_projected=False, steps=7)
    parts = (model.unet, model.autoencoder, model.image_encoder, model.pose_conditioning, None)
    mine = ViewModel(*parts, settings)
    for layout in LAYOUTS:
        export_model(mine, tmp_path / layout / PLACES[layout], layout)
        assert load_model(tmp_path / layout / PLACES[layout]).settings == settings
        given = load_model(tmp_path / layout / PLACES[layout], pose_format="radius").settings
        assert given.pose_format == "radius"


def test_the_name_of_a_file_tells_what_its_poses_mean(tmp_path):
    path = tmp_path / "105000.ckpt"
    torch.save(tiny_state(), path)
    settings = load_model(path).settings
    assert (settings.pose_format, settings.name) == ("radius", "105000")
    for name in ("stable_zero123.ckpt", "my-stable-zero123-tuned.ckpt"):
        path = path.rename(tmp_path / name)
        assert load_model(path).settings.pose_format == "source_polar"
    assert load_model(path, pose_format="radius").settings.pose_format == "radius"


def test_a_release_on_this_machine_is_loaded_by_its_name(source, start, model, tmp_path, monkeypatch):
    monkeypatch.setenv("ZERO123_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match=r"zero123-xl is not on this machine; `zero123 weights get zero123-xl`"):
        load_model("zero123-xl")
    (tmp_path / "zero123-xl.ckpt").symlink_to(source)
    (tmp_path / "stable_zero123.ckpt").symlink_to(source)
    (tmp_path / "sd-image-conditioned-v2.ckpt").symlink_to(start)
    found = load_model("zero123-xl")
    assert torch.equal(found.unet.conv_in.weight, model.unet.conv_in.weight)
    assert found.settings.name == "zero123-xl"
    assert load_model("stable-zero123").settings.pose_format == "source_polar"
    assert "Non-Commercial" in load_model("stable-zero123").settings.licence
    assert load_start("sd-image-conditioned-v2").unet.config.in_channels == 8


# The original's layout


def test_files_hold_what_the_original_file_holds(model, tmp_path):
    export_model(model, tmp_path / "a.ckpt", "ckpt")
    export_model(model, tmp_path / "a.safetensors", "safetensors")
    written = torch.load(tmp_path / "a.ckpt", weights_only=True)
    state = written["state_dict"]
    assert isinstance(written["global_step"], int)
    expected, shapes = tiny_state(), manifest()
    text = [key for key in expected if key.startswith("cond_stage_model.model.") and ".visual." not in key]
    assert shapes.keys() - state.keys() == set(text)
    assert not state.keys() - shapes.keys()
    for key in state:
        assert tuple(state[key].shape) == shapes[key], key
        if key in expected:
            assert torch.equal(state[key], expected[key]), key
    assert state["model_ema.decay"] == torch.tensor(0.9999)
    assert state["model_ema.num_updates"].dtype == torch.int32
    bare = load_file(tmp_path / "a.safetensors")
    assert bare.keys() == {key for key in state if not key.startswith("model_ema.")}
    assert all(torch.equal(bare[key], state[key]) for key in bare)
    sizes = [(tmp_path / name).stat().st_size for name in ("a.ckpt", "a.safetensors")]
    assert sizes[0] < 1.05 * sizes[1], "the averages are the weights, so they take no room"


def test_programs_that_copy_the_averages_over_the_unet_get_its_weights(model, tmp_path):
    """threestudio and stable-dreamfusion: load_state_dict(strict=False), then each parameter from its average."""
    export_model(model, tmp_path / "a.ckpt", "ckpt")
    state = torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"]
    wrapped = {key.removeprefix("model."): t for key, t in state.items() if key.startswith("model.diffusion_model.")}
    averaged = {key: state["model_ema." + key.replace(".", "")] for key in wrapped}
    assert len(averaged) == len(model.unet.state_dict())
    assert all(torch.equal(averaged[key], wrapped[key]) for key in wrapped)


def test_schedule_tables_equal_the_originals_to_the_bit():
    check = np.load(GOLDEN / "weight_check.npz")
    tables = schedule_tables()
    assert len(tables) == 12
    assert {str(name) for name in check["schedule_names"]} == tables.keys()
    for name, values in zip(check["schedule_names"], check["schedule_first_last"], strict=True):
        table = tables[str(name)]
        assert (table.shape, table.dtype) == ((1000,), torch.float32)
        np.testing.assert_array_equal(table[[0, 1, 499, 999]].numpy(), values)


def test_names_and_shapes_of_the_full_size_are_the_released_ones():
    shapes = manifest("manifest.json")
    parts = from_original({key: torch.empty(shape, device="meta") for key, shape in shapes.items()})
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(**parts.unet.config), AutoencoderKL(**parts.vae.config)
        encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(**parts.image_encoder.config))
        pose = PoseConditioning(768)
    full = ViewModel(
        unet, Autoencoder(vae, 0.18215, False), ImageEncoder(encoder, "pooled"), pose, None, ViewModelSettings()
    )
    assert export.misfit(full) is None
    networks = {k: tuple(t.shape) for part, s in export._states(full).items() for k, t in _named(part, s).items()}
    needed = ("model.diffusion", "first_stage", "cond_stage_model.model.visual.", "cc_projection.")
    assert networks == {key: shape for key, shape in shapes.items() if key.startswith(needed)}
    assert {key for key in shapes if "." not in key} == schedule_tables().keys()


def _named(part, state):
    return export.to_original_state(part, state)


# Starts for training


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """The tiny model as image-conditioned Stable Diffusion: no poses, 4 channels into the UNet."""
    state = {key: value for key, value in tiny_state().items() if not key.startswith("cc_projection")}
    for key in ("model.diffusion_model.input_blocks.0.0.weight", "model_ema.diffusion_modelinput_blocks00weight"):
        state[key] = state[key][:, :4].clone()
    path = tmp_path_factory.mktemp("start") / "sd-image-conditioned-v2.ckpt"
    torch.save({"state_dict": state}, path)
    return path


def test_a_start_is_no_view_model(start):
    with pytest.raises(WeightsError, match=r"is a start for training, not a view model") as error:
        load_model(start)
    assert "\n" not in str(error.value)


def test_training_starts_as_the_original_does(start, model):
    made = load_start(start)
    kernel = made.unet.conv_in.weight
    assert kernel.shape[1] == 8
    assert torch.equal(kernel[:, :4], model.unet.conv_in.weight[:, :4])
    assert not kernel[:, 4:].any()
    layer = made.pose_conditioning.projection
    assert torch.equal(layer.weight[:, :768], torch.eye(768))
    assert layer.weight[:, 768:].any()
    assert not layer.bias.any()
    expected, found = model.unet.state_dict(), made.unet.state_dict()
    same_tensors(expected | {"conv_in.weight": kernel}, found)


def test_training_may_start_from_a_view_model(source, model):
    same(model, load_start(source))


# Folders of the community


class CCProjection(ModelMixin, ConfigMixin):
    """As in diffusers' community pipeline: settings of other names, and not registered."""

    def __init__(self, in_channel=772, out_channel=768):
        super().__init__()
        self.projection = nn.Linear(in_channel, out_channel)


class CLIPCameraProjection(ModelMixin, ConfigMixin):
    @register_to_config
    def __init__(self, embedding_dim: int = 768, additional_embeddings: int = 4):
        super().__init__()
        self.proj = nn.Linear(embedding_dim + additional_embeddings, embedding_dim)


class Zero1to3StableDiffusionPipeline(DiffusionPipeline):
    _optional_components = ["safety_checker", "feature_extractor"]  # noqa: RUF012 (the library adds to it)

    def __init__(
        self,
        vae,
        image_encoder,
        unet,
        scheduler,
        safety_checker,
        feature_extractor,
        cc_projection,
        requires_safety_checker: bool = True,
    ):
        super().__init__()
        self.register_modules(
            vae=vae,
            image_encoder=image_encoder,
            unet=unet,
            scheduler=scheduler,
            safety_checker=safety_checker,
            feature_extractor=feature_extractor,
            cc_projection=cc_projection,
        )
        self.register_to_config(requires_safety_checker=requires_safety_checker)


class Zero123Pipeline(Zero1to3StableDiffusionPipeline):
    def __init__(
        self,
        vae,
        image_encoder,
        unet,
        scheduler,
        safety_checker,
        feature_extractor,
        clip_camera_projection,
        requires_safety_checker: bool = True,
    ):
        DiffusionPipeline.__init__(self)
        self.register_modules(
            vae=vae,
            image_encoder=image_encoder,
            unet=unet,
            scheduler=scheduler,
            safety_checker=safety_checker,
            feature_extractor=feature_extractor,
            clip_camera_projection=clip_camera_projection,
        )


COMMUNITY = {
    "diffusers": ("cc_projection", CCProjection, Zero1to3StableDiffusionPipeline),
    "diffusers-clip-camera": ("clip_camera_projection", CLIPCameraProjection, Zero123Pipeline),
}


def exported(model, folder, layout):
    export_model(model, folder, layout)
    return folder


def assert_networks(model, unet, vae, image_encoder, pose):
    pairs = ((model.unet, unet), (model.autoencoder.network, vae), (model.image_encoder.network, image_encoder))
    for ours, theirs in pairs:
        same_tensors(ours.state_dict(), theirs.state_dict())
    layer = model.pose_conditioning.projection
    assert all(torch.equal(a, b) for a, b in zip(layer.parameters(), pose.parameters(), strict=True))


@pytest.mark.parametrize("layout", COMMUNITY)
def test_the_libraries_load_every_network_of_an_exported_folder(model, tmp_path, layout):
    folder, (name, cls, _) = exported(model, tmp_path / "model", layout), COMMUNITY[layout]
    parts = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "image_encoder": CLIPVisionModelWithProjection}
    loaded = [kind.from_pretrained(folder / part, local_files_only=True) for part, kind in parts.items()]
    assert_networks(model, *loaded, cls.from_pretrained(folder / name, local_files_only=True))
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
    np.testing.assert_allclose(scheduler.alphas_cumprod, schedule_tables()["alphas_cumprod"], atol=1e-6)


@pytest.mark.parametrize("layout", COMMUNITY)
def test_the_pipeline_loads_an_exported_folder_as_a_whole(model, tmp_path, layout, monkeypatch):
    folder, (name, cls, pipeline) = exported(model, tmp_path / "model", layout), COMMUNITY[layout]
    module, class_name = json.loads((folder / "model_index.json").read_text())[name]
    place = types.ModuleType(module)
    setattr(place, class_name, cls)
    place.ModelMixin = ModelMixin  # the library looks there how to load a class, and both real modules import it
    monkeypatch.setitem(sys.modules, module, place)
    loaded = pipeline.from_pretrained(folder, local_files_only=True, feature_extractor=None)
    assert loaded.safety_checker is None
    assert_networks(model, loaded.unet, loaded.vae, loaded.image_encoder, getattr(loaded, name))
    processor = json.loads((folder / "feature_extractor" / "preprocessor_config.json").read_text())
    assert processor["image_processor_type"] == "CLIPImageProcessor"
    assert processor["crop_size"] == {"height": 224, "width": 224}


def rewrite(file, change):
    """The tensors of a safetensors file, renamed or recast."""
    state = change(load_file(file))
    file.unlink()
    return state


def make_old(folder):
    """What folders look like that were written by early versions of the libraries, in half precision."""
    (folder / "zero123.json").unlink()
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for part in ("unet", "vae", "image_encoder", "cc_projection"):
        file = next((folder / part).glob("*.safetensors"))
        state = {key: value.half() for key, value in rewrite(file, dict).items()}
        if part == "vae":
            for new, name in old.items():
                state = {k.replace(f".{new}.", f".{name}.") if ".attentions." in k else k: v for k, v in state.items()}
        if part == "image_encoder":
            state["vision_model.embeddings.position_ids"] = torch.arange(257)[None]
        if part == "unet":
            torch.save(state, folder / part / "diffusion_pytorch_model.bin")
        else:
            save_file(state, file.with_name(f"{file.stem}.fp16.safetensors"), metadata={"format": "pt"})


def test_old_folders_in_half_precision_are_read(model, tmp_path):
    folder = exported(model, tmp_path / "kxic", "diffusers")
    make_old(folder)
    again = load_model(folder)
    assert again.settings == ViewModelSettings(name="kxic")
    same_tensors(recast(model, lambda t: t.half().float()), again.state_dict())


@pytest.mark.parametrize("layout", COMMUNITY)
def test_no_class_name_of_a_folder_matters_and_none_of_its_code_runs(model, tmp_path, layout):
    folder = exported(model, tmp_path / "model", layout)
    mark = tmp_path / "executed"
    for place in (folder, folder / COMMUNITY[layout][0]):
        for name in ("pipeline_zero1to3.py", "zero123.py", "pipeline.py"):
            (place / name).write_text(f"open({str(mark)!r}, 'w')")
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"_class_name": ["pipeline", "Nonsense"], COMMUNITY[layout][0]: ["zero123", "Whatever"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    same(model, load_model(folder))
    (folder / "model_index.json").unlink()
    same(model, load_model(folder))
    assert not mark.exists()


BROKEN = {
    r"vae: missing tensor decoder\.mid_block\.attentions\.0\.query\.weight": ("vae", "query.weight", None),
    r"unet: tensor conv_in\.bias must have shape": ("unet", "conv_in.bias", torch.zeros(3)),
    r"cc_projection: must hold weight and bias of one layer": ("cc_projection", "projection.bias", None),
    r"image_encoder: tensor visual_projection\.weight holds values that are not finite": (
        "image_encoder",
        "visual_projection.weight",
        torch.full((768, 64), torch.nan),
    ),
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_bad_tensor_of_a_folder_is_named(model, tmp_path, message):
    folder = exported(model, tmp_path / "model", "diffusers")
    part, key, value = BROKEN[message]
    file = next((folder / part).glob("*.safetensors"))
    state = load_file(file)
    if key == "query.weight":
        state.pop("decoder.mid_block.attentions.0.to_q.weight")
        message = message.replace("query", "to_q")
    elif value is None:
        state.pop(key)
    else:
        state[key] = value
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=message) as error:
        load_model(folder)
    assert "\n" not in str(error.value)


# Refusals


@pytest.mark.parametrize("layout", OTHERS)
def test_a_model_of_another_kind_is_refused_before_anything_is_written(tmp_path, layout):
    with pytest.raises(WeightsError, match=r"tiny predicts velocity, for which the layout .* has no place") as error:
        export_model(tiny_view_model(), tmp_path / PLACES[layout], layout)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_type_too_small_is_refused_and_what_was_there_stays(source, tmp_path, layout):
    large = load_model(source)
    export_model(large, tmp_path / PLACES[layout], layout)
    with torch.no_grad():
        large.unet.conv_out.bias[0] = 1e6
    with pytest.raises(WeightsError, match=r"(conv_out|out\.2)\.bias is too large for torch.float16"):
        export_model(large, tmp_path / PLACES[layout], layout, torch.float16)
    assert load_model(tmp_path / PLACES[layout]).unet.conv_out.bias[0] != 1e6
    assert [path.name for path in tmp_path.iterdir()] == [PLACES[layout]]


def test_an_unknown_layout_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match="layout must be one of folder, safetensors"):
        export_model(model, tmp_path / "a", "onnx")


@pytest.mark.parametrize("layout", COMMUNITY)
def test_another_folder_is_never_overwritten(model, tmp_path, layout):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(WeightsError, match="is not a model folder"):
        export_model(model, tmp_path, layout)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_note_of_a_newer_version_is_named(model, tmp_path):
    state = {key: tensor.clone() for key, tensor in original_state(model).items()}
    for note, message in (
        ('{"settings": {"colour": 1}}', "unknown setting 'colour'"),
        ("{", "not valid JSON"),
        ("[1]", "must be a JSON object"),
        ('{"settings": {"image_size": "big"}}', "image_size must be"),
    ):
        save_file(state, tmp_path / "a.safetensors", metadata={"zero123": note})
        assert open_checkpoint(tmp_path / "a.safetensors").note == note
        with pytest.raises(WeightsError, match=message):
            load_model(tmp_path / "a.safetensors")
