"""Jobs over a real Ray cluster of two nodes, one of which is killed in the middle: nothing is lost, twice or half."""

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pytest

from zero123.jobs import Workers, run
from zero123.jobs.cluster import RayPool, gpus_of

pytest.importorskip("ray", reason="Ray is not installed: pip install 'zero123[cluster]'")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    # Ray's own loose ends in this process, which are not ours to tie
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

# Tests import what they need themselves: workers read this file, and most need little.

LITTLE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


def slow_pid(item):
    time.sleep(0.5)
    return f"{item}-{os.environ['RAY_NODE_NAME']}"


def where(item):
    if item == "die":
        os._exit(9)
    if item == "hang":
        time.sleep(600)
    return item


@pytest.fixture(scope="module")
def head():
    """A cluster of one node on this machine: no dashboard, no reports to anybody, ports and names of its own."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # short, as the names of its sockets must be
    path = os.pathsep.join(p for p in sys.path if p)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": folder,
            "RAY_NODE_NAME": "head",
            "RAY_DISABLE_IMPORT_WARNING": "1",
            "PYTHONPATH": path,
        }.items():
            patch.setenv(name, value)
        import ray
        from ray.cluster_utils import Cluster

        made = Cluster(initialize_head=True, head_node_args={**LITTLE, "include_dashboard": False})
        yield made
        if ray.is_initialized():
            ray.shutdown()
        made.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def second(head, monkeypatch):
    """Another node, to be killed; whose name its processes have in their environment."""
    monkeypatch.setenv("RAY_NODE_NAME", "second")
    node = head.add_node(**LITTLE)
    yield node
    if node in head.worker_nodes:
        head.remove_node(node, allow_graceful=False)


def test_workers_are_as_many_as_the_nodes_have_room_for(head, second):
    head.wait_for_nodes()  # until those killed before are known to be dead
    assert gpus_of(head.address) == 0
    for workers, room in ((Workers(), 2), (Workers(threads=2), 1), (Workers(memory=10**15), 1)):
        pool = RayPool(where, head.address, workers)
        try:
            assert pool.slots() == room
        finally:
            pool.close()


def test_a_node_killed_in_the_middle_loses_nothing(head, second):
    outcomes = []
    for outcome in run(slow_pid, range(10), cluster=head.address):
        outcomes.append(outcome)
        if second in head.worker_nodes and {o.result.rsplit("-", 1)[1] for o in outcomes} == {"head", "second"}:
            head.remove_node(second, allow_graceful=False)
            killed_after = len(outcomes)
    assert killed_after < 10
    assert sorted(o.item for o in outcomes) == list(range(10)) and not [o for o in outcomes if o.error]
    assert {o.result.rsplit("-", 1)[1] for o in outcomes[-3:]} == {"head"}


def test_renders_of_a_killed_node_are_all_there_none_twice_or_half(head, second, tmp_path):
    from zero123.data.render.batch import CameraSettings, RenderSettings, Source, render_all
    from zero123.data.view_set import ViewSet

    settings = RenderSettings(CameraSettings(views=4), size=64)
    sources = [Source(f"p{seed:02d}", None, seed) for seed in range(8)]
    finished = []
    for source, error in render_all(sources, tmp_path, settings, cluster=head.address):
        assert error is None
        finished.append(source.name)
        if len(finished) == 3:
            head.remove_node(second, allow_graceful=False)
    assert sorted(finished) == [s.name for s in sources]
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == [s.name for s in sources]
    for source in sources:
        assert len(ViewSet.load(tmp_path / source.name)) == 4
        assert json.loads((tmp_path / source.name / "manifest.json").read_text())["object"] == source.name


def node_of(process):
    """The node a process belongs to, by its environment."""
    entries = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    return next(e.split(b"=", 1)[1].decode() for e in entries if e.startswith(b"RAY_NODE_NAME="))


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to see where a process runs")
@pytest.mark.timeout(600)  # many processes start, also where other work keeps the cores
def test_pictures_of_a_killed_node_are_made_as_one_process_makes_them(head, second, tmp_path):
    import torch

    from tiny_model import tiny_view_model
    from zero123.batch.pictures import pictures_of
    from zero123.batch.run import make_all
    from zero123.batch.settings import BatchSettings, ModelChoice
    from zero123.diffusion.sampling import SamplingSettings
    from zero123.images import io
    from zero123.models.pretrained import save_model

    model, out, nodes = tmp_path / "model", tmp_path / "out", []
    save_model(tiny_view_model(), model)
    place = (torch.arange(48) + 0.5) / 24 - 1
    alpha = ((0.7 - torch.hypot(place[:, None], place[None])) * 24).clamp(0, 1)
    for index in range(8):
        io.save(tmp_path / "in" / f"{index:02d}.png", torch.stack((*torch.rand(3, 48, 48), alpha)))
    (tmp_path / "in" / "bad.jpg").write_text("no picture")
    settings = BatchSettings((0.0, 90.0), sampling=SamplingSettings(steps=10, scale=1.5, seed=3))
    pictures = pictures_of([tmp_path / "in"], out)
    states = {}
    for result in make_all(pictures, out, settings, ModelChoice(str(model)), Workers(2), head.address):
        states[result.picture.name] = result.state
        if result.state == "made" and second in head.worker_nodes:
            values = json.loads((out / result.picture.name / "manifest.json").read_text())
            nodes.append(node_of(values["worker"].rsplit(":", 1)[1]))
            if "second" in nodes:
                head.remove_node(second, allow_graceful=False)
    assert states.pop("bad") == "failed" and states == {f"{index:02d}": "made" for index in range(8)}
    assert second not in head.worker_nodes
    views = ModelChoice(str(model), device="cpu", dtype="float32").load()
    for name in states:
        expected = views(views.prepare(tmp_path / "in" / f"{name}.png"), settings.moves(), settings.sampling)
        made = torch.stack([io.load(out / name / "views" / f"00{view}.png") for view in range(2)])
        assert torch.equal((expected * 255).round(), (made * 255).round())
    assert not [p for p in out.iterdir() if p.name.startswith((".batching", "..batching"))]


def test_deaths_and_hangs_on_a_cluster_cost_only_their_items(head):
    items = ["die", "hang", *map(str, range(4))]
    outcomes = {o.item: o for o in run(where, items, Workers(time_limit=3, attempts=2), head.address)}
    assert outcomes.keys() == set(items)
    assert outcomes["die"].attempts == 2 and "the worker died" in outcomes["die"].error
    assert outcomes["hang"].error == "took longer than the limit of 3 seconds"
    assert all(outcomes[str(n)].result == str(n) for n in range(4))


def test_no_cluster_at_the_address_is_told_in_one_line(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    with pytest.raises(OSError, match=r"no Ray cluster answers at '127.0.0.1:1'"):
        list(run(where, ["a"], 1, cluster="127.0.0.1:1"))
