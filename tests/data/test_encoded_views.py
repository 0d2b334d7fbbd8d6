"""Latents and tokens from shards are those the model's encoders make, pair for pair, and stay with their encoders."""

import sys

import numpy as np
import pytest
import torch

from small_views import view_set
from tiny_model import SIZE, blobs, tiny_view_model
from zero123 import cli
from zero123.data.encoded import (
    EncodedObjects,
    EncodedPairs,
    EncodeSettings,
    encode_to_shards,
    encoded_pairs,
    fingerprint,
    holds_encoded,
)
from zero123.data.formats.detect import open_source
from zero123.data.pairs import PairBatch, Precomputed
from zero123.data.shards.writer import ShardSettings
from zero123.data.source_pairs import PairSettings, SourcePairs
from zero123.data.view_set import ViewSetError
from zero123.models.pretrained import save_model
from zero123.training.objective import Objective, ObjectiveSettings

OBJECTS, VIEWS = 5, 3


@pytest.fixture(scope="module")
def model():
    return tiny_view_model(volume=False)


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views")
    for index in range(OBJECTS):
        view_set(index, VIEWS, SIZE).save(folder / f"object{index}")
    return folder


def encoded(views, model, out, **settings):
    encode_to_shards(open_source(views), model, out, EncodeSettings(**settings), ShardSettings(objects=2))
    return out


def source_pairs(views, model, settings):
    return SourcePairs([open_source(views)], lambda pictures, _: model.autoencoder.encode(pictures), settings)


def same(ours, theirs, tolerance=2e-3):
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("tokens", [True, False])
def test_pairs_of_shards_are_those_of_the_pictures_with_what_the_encoders_say_of_them(
    views, model, tmp_path, tokens, mirror
):
    folder = encoded(views, model, tmp_path / "latents", tokens=tokens, mirror=mirror)
    settings = PairSettings(size=SIZE, seed=4, mirror=mirror)
    packed, plain = encoded_pairs([folder], model, settings), source_pairs(views, model, settings)
    for step in range(3):
        ours, theirs = packed.batch(step, 5), plain.batch(step, 5)
        with torch.no_grad():
            look = model.look(theirs.photo, theirs.source)
        same(ours.latent, theirs.latent)
        same(ours.precomputed.latent, look.latent)
        same(ours.relative.azimuth, theirs.relative.azimuth, 1e-6)
        same(ours.source.elevation, theirs.source.elevation, 1e-6)
        if tokens:
            same(ours.precomputed.tokens, look.tokens)
            assert ours.photo.shape == (5, 3, 0, 0)
        else:
            assert ours.precomputed.tokens is None
            same(ours.photo, theirs.photo, 0.6 / 255)


def test_the_condition_of_models_that_do_not_scale_it_is_unscaled(views, tmp_path):
    model = tiny_view_model(volume=False)
    model.autoencoder.scale, model.autoencoder.scale_condition = 0.5, False
    packed = encoded_pairs([encoded(views, model, tmp_path / "l")], model, PairSettings(size=SIZE))
    photo = source_pairs(views, model, PairSettings(size=SIZE)).batch(0, 4).photo
    with torch.no_grad():
        same(packed.batch(0, 4).precomputed.latent, model.look(photo).latent)


def test_the_loss_is_that_of_the_pictures_and_the_encoders_are_not_run(views, model, tmp_path, monkeypatch):
    folder = encoded(views, model, tmp_path / "latents")
    settings = PairSettings(size=SIZE)
    objective = Objective(model, ObjectiveSettings())
    plain = source_pairs(views, model, settings).batch(0, 4)
    expected, _ = objective(plain, torch.Generator().manual_seed(0))
    batch = encoded_pairs([folder], model, settings).batch(0, 4)
    for part in ("autoencoder", "image_encoder"):
        monkeypatch.setattr(type(getattr(model, part)), "forward", lambda *_: pytest.fail("ran an encoder"))
    monkeypatch.setattr(type(model.autoencoder), "_encode", lambda *_: pytest.fail("ran the autoencoder"))
    loss, _ = objective(batch, torch.Generator().manual_seed(0))
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-2)


def test_several_targets_share_what_is_known_of_their_input(views, model, tmp_path):
    folder = encoded(views, model, tmp_path / "latents")
    batch = encoded_pairs([folder], model, PairSettings(size=SIZE, targets=2)).batch(0, 6)
    known = batch.precomputed
    for start in (0, 2, 4):
        assert torch.equal(known.latent[start], known.latent[start + 1])
        assert torch.equal(known.tokens[start], known.tokens[start + 1])
        assert not torch.equal(batch.latent[start], batch.latent[start + 1])


def with_another_codec():
    """A model whose codec was fitted to other pictures."""
    other = tiny_view_model()
    other.autoencoder.network.fit(blobs(16, seed=1) * 2 - 1)
    return other


def test_latents_of_other_networks_are_refused(views, model, tmp_path):
    folder = encoded(views, model, tmp_path / "latents")
    assert holds_encoded(folder) and not holds_encoded(views)
    with pytest.raises(ViewSetError, match="made by another autoencoder"):
        encoded_pairs([folder], with_another_codec(), PairSettings())
    with pytest.raises(ViewSetError, match="not encoded, as the other folders are"):
        encoded_pairs([folder, views], model, PairSettings())
    with pytest.raises(ValueError, match="hold no mirrored views"):
        encoded_pairs([folder], model, PairSettings(mirror=True))
    with pytest.raises(ViewSetError, match="'encoded', 'views' is needed here"):
        open_source(folder)
    pictures = encoded(views, model, tmp_path / "pictures", tokens=False)
    with pytest.raises(ValueError, match="encoded otherwise than"):
        encoded_pairs([folder, pictures], model, PairSettings())


def test_a_fingerprint_is_of_the_weights_not_of_their_precision(model):
    own = fingerprint(model.autoencoder)
    stored = tiny_view_model(volume=False).half().float()
    assert fingerprint(stored.autoencoder) == own
    assert fingerprint(with_another_codec().autoencoder) != own


def test_a_damaged_array_is_skipped_and_counted(views, model, tmp_path):
    folder = encoded(views, model, tmp_path / "latents")
    path = folder / "shard-000001.tar"
    path.write_bytes(path.read_bytes().replace(b"\x93NUMPY", b"\x93NUMPX", 1))
    pairs = EncodedPairs([EncodedObjects(folder)], PairSettings(share=0.2))
    assert len(pairs.batch(0, 10).latent) == 10
    assert (
        list(pairs.broken.reasons) == [f"{folder}/object2"]
        and "damaged array" in pairs.broken.reasons[f"{folder}/object2"]
    )


def test_encoding_goes_on_and_starts_anew_for_another_model(views, model, tmp_path):
    folder = encoded(views, model, tmp_path / "latents")
    before = {p.name: p.read_bytes() for p in folder.glob("shard*.tar")}
    (folder / "shard-000001.tar").unlink()
    encoded(views, model, folder)
    assert {p.name: p.read_bytes() for p in folder.glob("shard*.tar")} == before
    encoded(views, tiny_view_model(seed=1), folder)
    assert all(p.read_bytes() != before[p.name] for p in folder.glob("shard*.tar"))


def test_a_batch_moves_with_what_is_known_of_it():
    known = Precomputed(torch.ones(1), None).to(torch.device("meta"))
    assert known.tokens.device.type == "meta" and known.latent is None
    assert PairBatch(torch.ones(1), torch.ones(1), None, None).precomputed == Precomputed()


def test_the_command_line_encodes(views, model, tmp_path, monkeypatch, capsys):
    save_model(model, tmp_path / "model")
    arguments = ["data", "encode", views, "-o", tmp_path / "out", "--model", tmp_path / "model", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["zero123", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0 and "5 objects in 1 shards" in capsys.readouterr().out
    arrays = EncodedObjects(tmp_path / "out").arrays(4)
    assert arrays["latents"].shape == (VIEWS, 1, 8, 8, 8) and arrays["latents"].dtype == np.float16
    assert arrays["tokens"].shape == (VIEWS, 1, 16, 16) and arrays["poses"].shape == (VIEWS, 3)


def test_objects_for_validation_stay_out_of_training(views, model, tmp_path):
    import json
    import shutil

    release = shutil.copytree(views, tmp_path / "release")
    (release / "valid_paths.json").write_text(json.dumps([f"object{k}" for k in (3, 1, 0, 4, 2)]))
    folder = encoded(release, model, tmp_path / "latents")
    (held_out,) = EncodedObjects(folder, "validation").names
    assert held_out == "object2" and list(EncodedObjects(folder).names) == ["object3", "object1", "object0", "object4"]
    poses = open_source(views).load(2).camera.orbit()
    same(torch.from_numpy(EncodedObjects(folder, "validation").arrays(0)["poses"][:, 0]), poses.azimuth, 1e-6)


def test_training_takes_encoded_shards_shows_pictures_and_counts_what_it_skipped(views, model, tmp_path):
    import json

    from zero123.training.show import SampleSheet
    from zero123.training.trainer import TrainSettings, train

    folder = encoded(views, model, tmp_path / "latents")
    path = folder / "shard-000001.tar"
    path.write_bytes(path.read_bytes().replace(b"\x93NUMPY", b"\x93NUMPX", 1))
    pairs = encoded_pairs([folder], model, PairSettings(share=0.2))
    own = tiny_view_model(volume=False)
    settings = TrainSettings(steps=3, batch=5, save_every=3, log_every=1, sample_every=3, precision="no")
    train(own, pairs, tmp_path / "run", settings, SampleSheet(pairs, 2))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["skipped_objects"] for line in lines] == [1, 1, 1]
    assert (tmp_path / "run" / "samples" / "step-00000003.png").is_file()
