"""Released weights are known by name, with their terms, and found on this machine or said to be absent."""

import pytest

from zero123.models.weights import WeightsError
from zero123.models.weights.registry import (
    DEFAULT,
    RELEASES,
    HubFile,
    find_release,
    local_path,
    readable_size,
    release_of,
    weights_folder,
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("ZERO123_WEIGHTS", str(tmp_path / "w"))
    return tmp_path / "w"


def test_all_published_names_are_known():
    names = [release.name for release in RELEASES]
    assert names[0] == DEFAULT
    expected = "105000 165000 230000 300000 zero123-xl stable-zero123 sd-image-conditioned-v2"
    assert set(expected.split()) <= set(names)
    assert len(set(names)) == len({release.file for release in RELEASES}) == len(RELEASES)


@pytest.mark.parametrize("release", RELEASES, ids=lambda r: r.name)
def test_every_release_says_where_it_is_and_what_its_licence_allows(release):
    assert release.licence.name and release.licence.allows and release.about
    assert release.file.endswith(".ckpt") and "/" not in release.file
    assert release.source.startswith("https://") and release.file in release.source
    assert release.sha256 is None or (len(release.sha256) == 64 and int(release.sha256, 16))
    assert release_of(f"some/where/{release.file}") is release
    assert release_of(f"{release.name}.safetensors") is release_of(f"some/{release.name}") is release


def test_the_odd_ones_are_marked():
    polar = {release.name for release in RELEASES if release.pose_format == "source_polar"}
    assert polar == {"stable-zero123", "stable-zero123-c"}
    assert all("non-commercial" in find_release(name).licence.allows for name in polar)
    gated = {release.name for release in RELEASES if isinstance(release.where, HubFile) and release.where.gated}
    assert gated == polar
    assert [release.name for release in RELEASES if release.is_start] == ["sd-image-conditioned-v2"]


def test_unknown_names_list_the_known_ones():
    with pytest.raises(WeightsError, match=r"^105001: no such release; known are 105000, 165000"):
        find_release("105001")
    assert release_of("mine.ckpt") is None


def test_an_absent_release_says_how_to_get_it_and_how_large_it_is(place):
    with pytest.raises(WeightsError, match=r"^105000 is not on this machine; `zero123 weights get 105000` downl.* GB$"):
        local_path("105000")
    with pytest.raises(WeightsError, match=r"`zero123 weights get 300000` downloads it$"):
        local_path("300000")
    place.mkdir()
    (place / "105000.ckpt").write_bytes(b"x")
    assert local_path("105000") == place / "105000.ckpt"


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("ZERO123_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert weights_folder() == tmp_path / "zero123" / "weights"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert weights_folder() == tmp_path / "home" / ".cache" / "zero123" / "weights"
    monkeypatch.setenv("ZERO123_WEIGHTS", "~/w")
    assert weights_folder() == tmp_path / "home" / "w"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (15_465_973_531, "15.5 GB"), (123_456_789, "123 MB"),
     (999_600, "1 MB"), (8_584_287_851, "8.58 GB")],
)  # fmt: skip
def test_sizes_have_three_digits(count, text):
    assert readable_size(count) == text
