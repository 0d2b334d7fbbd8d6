"""What training minimises: the error of a network's prediction on a picture noised to a given step."""

from __future__ import annotations

from typing import Any, Literal, get_args

from torch import Tensor

from zero123.diffusion.denoiser import Network, per_image
from zero123.diffusion.schedule import NoiseSchedule

Prediction = Literal["noise", "velocity"]
Weighting = Literal["uniform", "min_snr_5"]


def denoising_loss(
    network: Network,
    schedule: NoiseSchedule,
    x0: Tensor,
    noise: Tensor,
    step: Tensor,
    condition: Any,
    prediction: Prediction = "noise",
    weighting: Weighting = "uniform",
) -> Tensor:
    """Weighted squared error of what `network` predicts for each picture.

    The defaults are what Zero-1-to-3 trained on, Equation 14 of Ho et al., 2020 (arXiv:2006.11239). "min_snr_5" weighs
    the error of x0 by min(SNR, 5), Section 3.4 of Hang et al., 2023 (arXiv:2303.09556), so that easy steps do not drown
    the others. With either weighting the best network is the expected noise (or velocity).

    Args:
        network: called once, as `network(x_scaled, step, condition)`.
        schedule: noise level of each step.
        x0: clean latents, (B, C, h, w).
        noise: standard normal, (B, C, h, w).
        step: steps into the schedule, (B,) int64, in [0, T).
        condition: handed to the network as it is.
        prediction: what the network predicts: the noise, or the velocity alpha * noise - beta * x0.
        weighting: of the steps: all alike, or min-SNR with gamma 5.

    Returns:
        Loss of each picture, averaged over its values, (B,).

    Raises:
        ValueError: shapes do not fit, or `prediction` or `weighting` is unknown.
    """
    if noise.shape != x0.shape:
        raise ValueError(f"noise must be like x0, {tuple(x0.shape)}, got {tuple(noise.shape)}")
    if step.shape != x0.shape[:1]:
        raise ValueError(f"step must be ({len(x0)},), one for each picture, got {tuple(step.shape)}")
    for name, value, known in (("prediction", prediction, Prediction), ("weighting", weighting, Weighting)):
        if value not in get_args(known):
            raise ValueError(f"{name} must be one of {', '.join(get_args(known))}, got {value!r}")
    level = schedule.sigmas.to(x0)[step]
    sigma = per_image(level, x0)
    alpha = 1 / (1 + sigma**2).sqrt()
    target = noise if prediction == "noise" else alpha * (noise - sigma * x0)
    error = network(alpha * (x0 + sigma * noise), step, condition) - target
    loss = error.square().flatten(1).mean(1)
    if weighting == "uniform":
        return loss
    # an error e in x0 is an error e / sigma in the noise and e * sqrt(1 + 1 / sigma^2) in the velocity
    snr = level**-2
    return loss * snr.clamp(max=5) / (snr if prediction == "noise" else snr + 1)
