"""The released weights by name: where each lives, how large it is, what its licence allows, and where it lies here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from zero123.models.weights.errors import WeightsError

if TYPE_CHECKING:
    from zero123.models.pose_conditioning import PoseFormat


@dataclass(frozen=True)
class Licence:
    """Terms of weights, in short; the text itself binds.

    Attributes:
        name: of the licence, or that none is stated.
        allows: what one may do, in one sentence.
    """

    name: str
    allows: str


@dataclass(frozen=True)
class HubFile:
    """A file of a model repository on the Hugging Face hub.

    Attributes:
        repository: owner and name.
        file: path inside the repository.
        gated: the licence must be accepted on the repository's page, and the request must carry a token.
    """

    repository: str
    file: str
    gated: bool = False

    @property
    def page(self) -> str:
        """Address of the repository for people."""
        return f"https://huggingface.co/{self.repository}"


@dataclass(frozen=True)
class Release:
    """Weights somebody published.

    Attributes:
        name: what to call them here.
        where: on the hub, or an address.
        licence: terms of the weights.
        about: what they are, in one line.
        size: bytes, as published (some to three digits only, so it is shown, never checked); None: nobody states it.
        sha256: of the file, hexadecimal, as the hub states it of this file or of public copies; None: not known.
        pose_format: meaning of the fourth pose number, see `pose_conditioning.pose_vector`.
        is_start: not a finished model but what Zero-1-to-3 was fine-tuned from.
    """

    name: str
    where: HubFile | str
    licence: Licence
    about: str
    size: int | None = None
    sha256: str | None = None
    pose_format: PoseFormat = "radius"
    is_start: bool = False

    @property
    def file(self) -> str:
        """Name of the file on this machine."""
        path = self.where.file if isinstance(self.where, HubFile) else urlsplit(self.where).path
        return path.rsplit("/", 1)[-1]

    @property
    def source(self) -> str:
        """Where it comes from, for people."""
        return f"{self.where.page} ({self.where.file})" if isinstance(self.where, HubFile) else self.where


_HUB = "cvlab/zero123-weights"
_ASSETS = "https://cv.cs.columbia.edu/zero123/assets"  # the hub has two of the four, the authors' server all
_ORIGIN = "they descend from Stable Diffusion, whose CreativeML Open RAIL-M forbids the harmful uses it lists"
_MIT = Licence("MIT", f"any use, say the authors on the hub; {_ORIGIN}")
_UNSAID = Licence("not stated", f"ask the authors (105000 and 165000 they call MIT); {_ORIGIN}")
_RAIL = Licence("CreativeML Open RAIL-M", "any use but the harmful ones it lists, as stated for Lambda Labs' model")
_RESEARCH = Licence(
    "Stability AI Non-Commercial Research Community License", "research and other non-commercial use only"
)
_COMMUNITY = Licence(
    "Stability AI Community License",
    "research and non-commercial use; commercial use only under US $1,000,000 of revenue a year",
)

DEFAULT = "105000"
"""The authors' own choice."""

RELEASES: tuple[Release, ...] = (
    Release(
        "105000",
        HubFile(_HUB, "105000.ckpt"),
        _MIT,
        "Zero-1-to-3 after 105,000 steps on Objaverse; the authors' default",
        15_465_973_531,
        "f0fee4e7c1d81c70af5a5f7bb6185fd03d75f0764f8fb9a2efaf729c69679855",
    ),
    Release(
        "165000",
        HubFile(_HUB, "165000.ckpt"),
        _MIT,
        "Zero-1-to-3 after 165,000 steps on Objaverse",
        15_500_000_000,
        "0735390909ba6b2ba3640957b68ed8b6e477ce43c728123d30d32802994f6eb3",
    ),
    Release("230000", f"{_ASSETS}/230000.ckpt", _UNSAID, "Zero-1-to-3 after 230,000 steps on Objaverse"),
    Release("300000", f"{_ASSETS}/300000.ckpt", _UNSAID, "Zero-1-to-3 after 300,000 steps on Objaverse"),
    Release(
        "zero123-xl",
        "https://zero123.cs.columbia.edu/assets/zero123-xl.ckpt",
        _UNSAID,
        "the same network trained on Objaverse-XL, over ten million objects",
        15_465_973_531,
        "bc4ea2f8696ed96495a756e178cab659de807bbae2d2df18987cf61c44070696",
    ),
    Release(
        "stable-zero123",
        HubFile("stabilityai/stable-zero123", "stable_zero123.ckpt", gated=True),
        _RESEARCH,
        "Stability AI's training of the same network; its pose has the picture's elevation, not the radius",
        8_584_287_851,
        "a28d471b0f450881faf0685335a9ace0c12191c007d285862012747ab4b80f6b",
        "source_polar",
    ),
    Release(
        "stable-zero123-c",
        HubFile("stabilityai/stable-zero123", "stable_zero123_c.ckpt", gated=True),
        _COMMUNITY,
        "the same, trained on CC-BY and CC0 objects only",
        8_580_000_000,
        "394f6adcca928fc83e2e65f571b57af0edd06aa30ffc6bb358596c4f65dd884f",
        "source_polar",
    ),
    Release(
        "sd-image-conditioned-v2",
        f"{_ASSETS}/sd-image-conditioned-v2.ckpt",
        _RAIL,
        "Lambda Labs' Stable Diffusion on CLIP images: where training starts, makes no views",
        is_start=True,
    ),
)


def find_release(name: str) -> Release:
    """The release called `name`.

    Raises:
        WeightsError: there is none.
    """
    for release in RELEASES:
        if release.name == name:
            return release
    raise WeightsError(f"{name}: no such release; known are {', '.join(r.name for r in RELEASES)}")


def release_of(path: str | Path) -> Release | None:
    """The release that a file or folder seems to be, going by its name whatever the ending; None for all others."""
    stem = Path(path).stem
    return next((release for release in RELEASES if stem in (release.name, Path(release.file).stem)), None)


def weights_folder() -> Path:
    """Where downloads lie: $ZERO123_WEIGHTS, else zero123/weights in $XDG_CACHE_HOME or ~/.cache."""
    if chosen := os.environ.get("ZERO123_WEIGHTS"):
        return Path(chosen).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "zero123" / "weights"


def local_path(name: str) -> Path:
    """The downloaded file of the release `name`; nothing is fetched.

    Raises:
        WeightsError: no such release, or it is not on this machine.
    """
    release = find_release(name)
    path = weights_folder() / release.file
    if not path.is_file():
        size = f" about {readable_size(release.size)}" if release.size else " it"
        raise WeightsError(f"{name} is not on this machine; `zero123 weights get {name}` downloads{size}")
    return path


def readable_size(count: int) -> str:
    """Bytes to three digits with a unit of thousands, as disks and the hub count: 15465973531 is "15.5 GB"."""
    value, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "bytes" or value >= 99.95 else f"{value:.3g} {unit}"
