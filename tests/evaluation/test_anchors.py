"""Printed numbers are those of the sources, and never stand beside a run as if they were its own."""

import pytest

from zero123.evaluation import protocols
from zero123.evaluation.anchors import OTHER, anchors, beside


def _row(method, data):
    (one,) = [a for a in anchors() if a.method == method and a.data == data]
    return one


@pytest.mark.parametrize(
    ("method", "data", "metrics"),
    [
        ("Zero-1-to-3 (105000)", "GSO, random views", {"psnr": 18.378, "ssim": 0.877, "lpips": 0.088, "fid": 0.027}),
        ("Zero-1-to-3 (105000)", "RTMV, random views", {"psnr": 10.405, "ssim": 0.606, "lpips": 0.323, "fid": 0.319}),
        ("Zero-1-to-3", "GSO, 30 objects, 16 views at elevation 30", {"psnr": 18.93, "ssim": 0.779, "lpips": 0.166}),
        ("EscherNet", "GSO30, 15 random targets, 1 reference view", {"psnr": 20.24, "ssim": 0.884, "lpips": 0.095}),
        ("SV3D_p", "GSO, static orbits, 576 pixels", {"psnr": 21.26, "ssim": 0.88, "lpips": 0.08}),
        ("Zero-1-to-3", "GSO, 30 objects, 3D", {"chamfer": 0.0339, "volume_iou": 0.5035}),
        ("Zero-1-to-3 (105000)", "GSO, 3D", {"chamfer": 0.0717, "volume_iou": 0.5052}),
    ],
)
def test_the_numbers_are_the_printed_ones(method, data, metrics):
    assert _row(method, data).metrics == metrics


def test_every_anchor_has_a_source_and_no_two_are_one():
    rows = anchors()
    assert all(one.paper and one.read_in and one.metrics for one in rows)
    assert len({(one.method, one.data, one.paper) for one in rows}) == len(rows) == 68
    assert {one.same_views for one in rows} <= {None, *protocols.names()}


def test_another_protocol_is_marked_as_such():
    one = _row("SyncDreamer", "GSO, 30 objects, 16 views at elevation 30")
    assert one.standing("sync16", ()).startswith("same objects and views (ssim torchmetrics")
    assert one.standing("corpus-test", ()) == OTHER
    assert one.standing("sync16", ("seed 3, not 0",)) == f"{OTHER} (this run: seed 3, not 0)"
    assert all(a.standing("z123-random", ()) == OTHER for a in anchors())  # its objects were never published


@pytest.mark.parametrize("name", [*protocols.names(), "own views"])
def test_the_original_stands_beside_every_run(name):
    shown = beside(name)
    assert any(one.metrics.get("psnr") == 18.378 for one in shown)
    same = [one.same_views == name for one in shown]
    assert same == sorted(same, reverse=True)
    assert sum(same) == {"sync16": 3, "gso30-25": 4}.get(name, 0)
