"""What training minimises: the error of a network's prediction on a picture noised to a given step."""

from __future__ import annotations

from typing import Any, Literal, get_args

from torch import Tensor

from zero123.diffusion.denoiser import Network, flow_time, per_image, shares
from zero123.diffusion.schedule import NoiseSchedule

Prediction = Literal["noise", "velocity", "flow"]
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
    the others. With either weighting the best network is the expected noise (or velocity). "flow" is Equation 1 of Liu
    et al., 2022 (arXiv:2209.03003): the network sees (1 - t) * x0 + t * noise.

    Args:
        network: called once, as `network(x_scaled, step, condition)`.
        schedule: noise level of each step.
        x0: clean latents, (B, C, h, w).
        noise: standard normal, (B, C, h, w).
        step: steps into the schedule, (B,) int64, in [0, T).
        condition: handed to the network as it is.
        prediction: what the network predicts: the noise, the velocity alpha * noise - beta * x0, or noise - x0.
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
    alpha, beta = shares(level) if prediction != "flow" else (1 - flow_time(level), flow_time(level))
    own, noisy = per_image(alpha, x0), per_image(beta, x0)
    target = {"noise": lambda: noise, "velocity": lambda: own * noise - noisy * x0, "flow": lambda: noise - x0}
    error = network(own * x0 + noisy * noise, step, condition) - target[prediction]()
    loss = error.square().flatten(1).mean(1)
    return loss if weighting == "uniform" else loss * _min_snr(alpha, beta, prediction).to(loss)


def _min_snr(alpha: Tensor, beta: Tensor, prediction: Prediction, most: float = 5.0) -> Tensor:
    """Weight of the squared error of what is predicted, (B,), that weighs the error of x0 by min(SNR, `most`)."""
    snr = (alpha / beta) ** 2
    # an error e of x0 is an error e * alpha / beta of the noise, and an error e / beta of the velocity and of the flow
    return snr.clamp(max=most) * (1 / snr if prediction == "noise" else beta**2)
