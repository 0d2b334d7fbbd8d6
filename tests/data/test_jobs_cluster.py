"""Jobs over a real Ray cluster of two nodes, one of which is killed in the middle: nothing is lost, twice or half."""

import json
import os
import subprocess
import sys
import time

import pytest

from zero123.data.jobs import Workers, run
from zero123.data.render.batch import CameraSettings, RenderSettings, Source, render_all
from zero123.data.view_set import ViewSet

pytest.importorskip("ray", reason="Ray is not installed: pip install 'zero123[cluster]'")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("ray"),
    # Ray's own loose ends in this process, which are not ours to tie
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

OBJECTS = 24


def slow_pid(item):
    time.sleep(1.0)
    return f"{item}-{os.environ['RAY_NODE_NAME']}"


def where(item):
    if item == "die":
        os._exit(9)
    if item == "hang":
        time.sleep(600)
    return item


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes of two cores on this machine, each named in its environment."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_DISABLE_IMPORT_WARNING", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_NODE_NAME", "head")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    monkeypatch.setenv("RAY_NODE_NAME", "second")
    second = made.add_node(num_cpus=2)
    made.wait_for_nodes()
    yield made, second
    if ray.is_initialized():
        ray.shutdown()
    made.shutdown()


def test_a_node_killed_in_the_middle_loses_nothing(cluster):
    made, second = cluster
    outcomes, killed = [], False
    for outcome in run(slow_pid, range(16), cluster=made.address):
        outcomes.append(outcome)
        if not killed and any(o.result.endswith("second") for o in outcomes):
            made.remove_node(second, allow_graceful=False)
            killed = True
    assert killed
    assert sorted(o.item for o in outcomes) == list(range(16)) and not [o for o in outcomes if o.error]
    nodes = {o.result.rsplit("-", 1)[1] for o in outcomes}
    assert nodes == {"head", "second"}
    assert {o.result.rsplit("-", 1)[1] for o in outcomes[-3:]} == {"head"}


def test_renders_of_a_killed_node_are_all_there_none_twice_or_half(cluster, tmp_path):
    made, second = cluster
    settings = RenderSettings(CameraSettings(views=6), size=128)
    sources = [Source(f"p{seed:02d}", None, seed) for seed in range(OBJECTS)]
    finished, killed = [], False
    for source, error in render_all(sources, tmp_path, settings, cluster=made.address):
        assert error is None
        finished.append(source.name)
        if len(finished) == 6:
            made.remove_node(second, allow_graceful=False)
            killed = True
    assert killed and sorted(finished) == [s.name for s in sources]
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == [s.name for s in sources]
    for source in sources:
        assert len(ViewSet.load(tmp_path / source.name)) == 6
        assert json.loads((tmp_path / source.name / "manifest.json").read_text())["object"] == source.name
    left = subprocess.run(["find", tmp_path, "-name", "*rendering-*"], capture_output=True, text=True, check=True)
    assert left.stdout == ""


def test_deaths_and_hangs_on_a_cluster_cost_only_their_items(cluster):
    made, _ = cluster
    items = ["die", "hang", *map(str, range(6))]
    outcomes = {o.item: o for o in run(where, items, Workers(2, time_limit=5, attempts=2), made.address)}
    assert outcomes.keys() == set(items)
    assert outcomes["die"].attempts == 2 and "the worker died" in outcomes["die"].error
    assert outcomes["hang"].error == "took longer than the limit of 5 seconds"
    assert all(outcomes[str(n)].result == str(n) for n in range(6))


def test_no_cluster_at_the_address_is_told_in_one_line(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    with pytest.raises(OSError, match=r"no Ray cluster answers at '127.0.0.1:1'"):
        list(run(where, ["a"], 1, cluster="127.0.0.1:1"))
