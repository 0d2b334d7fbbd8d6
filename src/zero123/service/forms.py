"""What can be asked of the service: forms with their limits, as the API's document shows them."""

from __future__ import annotations

from typing import Literal

from fastapi import UploadFile
from pydantic import BaseModel, ConfigDict, Field

from zero123.batch.settings import BatchSettings
from zero123.diffusion.sampling import SamplingSettings, Solver
from zero123.diffusion.schedule import Spacing
from zero123.images.matting import Method
from zero123.service.settings import Refused, ServiceSettings

MeshFormat = Literal["glb", "obj", "ply", "stl"]


class Asked(BaseModel):
    """What every request says of its picture, and of how views are drawn."""

    model_config = ConfigDict(extra="forbid")

    seed: int = Field(0, ge=0, lt=2**63, description="Same seed, same pictures, whatever else is asked meanwhile.")
    steps: int | None = Field(None, ge=1, description="Sampling steps; the model's own where nothing is said.")
    scale: float | None = Field(None, ge=0, le=100, description="Guidance, 1 is off; the model's own by default.")
    solver: Solver = Field("dpmpp_2m", description="ancestral is DDIM with eta 1, euler with eta 0.")
    spacing: Spacing | None = Field(None, description="How noise levels are spread; the model's own by default.")
    symmetry: Literal["auto", "none"] | float = Field(
        "none",
        description="Degrees from the camera to the front, to the right, of an object whose sides are alike.",
    )
    background: Method = Field("auto", description="How the object is found in the picture.")
    photo_elevation_deg: float | None = Field(
        None, ge=-90, le=90, description="Height the picture was taken from; estimated where nothing is said."
    )

    def sampling(self, samples: int = 1) -> SamplingSettings:
        """How views are drawn."""
        return SamplingSettings(
            steps=self.steps,
            scale=self.scale,
            seed=self.seed,
            solver=self.solver,
            spacing=self.spacing,
            symmetry=self.symmetry,
            samples=samples,
        )

    def made(self) -> BatchSettings:
        """What is to be made.

        Raises:
            ValueError: numbers that do not go together; in one line.
        """
        raise NotImplementedError

    def formats(self) -> tuple[str, ...]:
        """Endings of the files of the mesh."""
        return ()

    def check(self, limits: ServiceSettings) -> None:
        """Refuse what is wrong, or more than this service does for one request.

        Raises:
            Refused: 422, in one line.
        """
        try:
            made = self.made()
        except ValueError as error:
            raise Refused(422, str(error)) from error
        if (self.steps or 0) > limits.max_steps:
            raise Refused(422, f"steps must be at most {limits.max_steps} here, got {self.steps}")
        pictures = len(made.azimuth_deg) and len(made.moves()) * made.sampling.samples
        if pictures > limits.max_pictures:
            raise Refused(422, f"at most {limits.max_pictures} pictures in one request, got {pictures}")


class ViewsAsked(Asked):
    """Views from other sides; angles are relative to the picture's camera."""

    azimuth_deg: list[float] = Field([30.0], min_length=1, max_length=360, description="Camera to the right.")
    elevation_deg: list[float] = Field([0.0], min_length=1, max_length=360, description="Up; one, or one per view.")
    radius: list[float] = Field([0.0], min_length=1, max_length=360, description="Away; one, or one per view.")
    samples: int = Field(1, ge=1, le=64, description="Pictures of each view, from the seed on.")

    def made(self) -> BatchSettings:
        """See `Asked`."""
        return BatchSettings(
            tuple(self.azimuth_deg),
            tuple(self.elevation_deg),
            tuple(self.radius),
            sampling=self.sampling(self.samples),
            background=self.background,
            photo_elevation_deg=self.photo_elevation_deg,
        )


class OrbitAsked(Asked):
    """A video of a camera that goes once around the object."""

    frames: int = Field(24, ge=3, le=360, description="Pictures in the video.")
    elevation_deg: float = Field(0.0, ge=-180, le=180, description="Camera up from the picture's camera.")
    fps: float = Field(12.0, ge=1, le=60, description="Pictures per second.")

    def made(self) -> BatchSettings:
        """See `Asked`."""
        return BatchSettings(
            tuple(360.0 * k / self.frames for k in range(self.frames)),
            (self.elevation_deg,),
            fps=self.fps,
            sampling=self.sampling(),
            background=self.background,
            photo_elevation_deg=self.photo_elevation_deg,
        )


class MeshAsked(Asked):
    """A textured 3D mesh."""

    faces: int = Field(30_000, ge=100, le=1_000_000, description="Triangles, at most about this many.")
    format: list[MeshFormat] = Field(["glb"], min_length=1, max_length=4, description="Files; repeat for several.")

    def made(self) -> BatchSettings:
        """See `Asked`."""
        return BatchSettings(
            (),
            faces=self.faces,
            sampling=self.sampling(),
            background=self.background,
            photo_elevation_deg=self.photo_elevation_deg,
        )

    def formats(self) -> tuple[str, ...]:
        """See `Asked`."""
        return tuple(dict.fromkeys(self.format))


KINDS: dict[str, type[Asked]] = {"views": ViewsAsked, "orbit": OrbitAsked, "reconstruct": MeshAsked}
"""What is asked for by each kind of job."""


class ViewsForm(ViewsAsked):
    """The same with the picture, as it is posted."""

    picture: UploadFile = Field(description="PNG, JPEG or WebP of one object.")
    answer: Literal["json", "zip", "job"] = Field(
        "json", description="Pictures as base64 in JSON, as PNG files in a ZIP, or a job to come back for."
    )


class OrbitForm(OrbitAsked):
    """The same with the picture, as it is posted."""

    picture: UploadFile = Field(description="PNG, JPEG or WebP of one object.")


class MeshForm(MeshAsked):
    """The same with the picture, as it is posted."""

    picture: UploadFile = Field(description="PNG, JPEG or WebP of one object.")
