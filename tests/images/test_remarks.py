"""What is said of pictures that make bad meshes, and that nothing is said of good ones."""

import pytest
import torch

from zero123.images.remarks import remark_on_height, remarks

SIZE = 96
PLACE = (torch.arange(SIZE) + 0.5) / SIZE - 0.5
AWAY = torch.hypot(PLACE[:, None], PLACE[None])


def picture(alpha):
    return torch.cat((torch.full((3, SIZE, SIZE), 0.4), alpha[None].float()))


BALL = ((0.3 - AWAY) * SIZE).clamp(0, 1)
TWO = (torch.hypot(PLACE[:, None], PLACE[None].abs() - 0.25) < 0.15).float()
SPECK = torch.maximum(BALL, (torch.hypot(PLACE[:, None] - 0.45, PLACE[None] - 0.45) < 0.03).float())
WIRE = ((AWAY - 0.35).abs() < 0.008).float()
RACKET = torch.maximum(WIRE, (AWAY < 0.12).float())
STICK = (PLACE[:, None].abs() < 0.008) & (PLACE[None].abs() < 0.45)


@pytest.mark.parametrize("alpha", [BALL, SPECK, (AWAY < 0.4) & (AWAY > 0.2)], ids=["ball", "speck", "tyre"])
def test_nothing_is_said_of_ordinary_objects(alpha):
    assert remarks(picture(alpha), False) == []


@pytest.mark.parametrize(
    ("alpha", "cropped", "said"),
    [
        (BALL, True, "touches the picture's edge"),
        (TWO, False, "2 separate things are seen"),
        (WIRE, False, "most of the object is thin"),
        (STICK, False, "most of the object is thin"),
        (BALL * 0.5, False, "lets light through"),
    ],
    ids=["cropped", "two", "wire", "stick", "glass"],
)
def test_what_makes_meshes_bad_is_said_in_one_line(alpha, cropped, said):
    (line,) = remarks(picture(alpha), cropped)
    assert said in line and "\n" not in line


def test_heights_near_the_poles_are_remarked_on():
    assert remark_on_height(90) == "the picture is taken from straight above; all sides of the object are guessed"
    assert "below" in remark_on_height(-80)
    assert remark_on_height(60) is None
