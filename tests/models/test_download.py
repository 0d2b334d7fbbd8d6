"""Downloads resume, are checked to the last byte, and fail in one line that says what to do; all on 127.0.0.1."""

import dataclasses
import errno
import hashlib
import json
import multiprocessing
import random
import shutil
import socket
import threading
import urllib.error
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from zero123.models.weights import WeightsError, download, partial_file
from zero123.models.weights.download import download as fetch
from zero123.models.weights.registry import HubFile, Licence, Release

CONTENT = random.Random(0).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
TERMS = Licence("none", "tests")


class Server(ThreadingHTTPServer):
    """A file server with a switch for every fault; `requests` holds what it was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag, self.status = CONTENT, '"v1"', 200
        self.cut_after = None  # bytes after which the connection is closed, once
        self.ranges = self.if_range = self.length = True
        self.hub = {}  # headers of the hub's answer to HEAD
        self.requests = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_):
        pass  # the other end hung up, as tests do


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.server.requests.append(("HEAD", self.path, dict(self.headers)))
        self.send_response(self.server.status)
        for name, value in self.server.hub.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        server = self.server
        server.requests.append(("GET", self.path, dict(self.headers)))
        if server.status >= 400:
            self.send_response(server.status)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        first, total = self.first_byte(), len(server.content)
        if first >= total:
            self.send_response(416)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
        if server.etag:
            self.send_header("ETag", server.etag)
        if server.length:
            self.send_header("Content-Length", str(total - first))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        return self.send(server.content[first:])

    def first_byte(self):
        server, wanted = self.server, self.headers.get("Range")
        changed = server.if_range and self.headers.get("If-Range") not in (None, server.etag)
        if wanted is None or not server.ranges or changed:
            return 0
        return int(wanted.removeprefix("bytes=").removesuffix("-"))

    def send(self, body):
        limit, self.server.cut_after = self.server.cut_after, None
        self.wfile.write(body[:limit])
        self.wfile.flush()
        if limit is not None or not self.server.length:
            self.close_connection = True


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def release(server):
    return Release("fake", f"{server.url}/some/fake.ckpt", TERMS, "a test")


def contents(folder):
    """What is there, the lock aside."""
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))


def ranges(server):
    return [headers.get("Range") for kind, _, headers in server.requests if kind == "GET"]


def leave_half(server, release, folder):
    """An earlier call that was cut off after a million bytes."""
    server.cut_after = 1_000_000
    with pytest.raises(WeightsError, match=r"ended after 1 MB of 3 MB; 1 MB are kept, run it again to go on$"):
        fetch(release, folder, tries=1)
    assert contents(folder) == ["fake.ckpt.part", "fake.ckpt.part.json"]
    server.requests.clear()


def test_a_file_arrives_whole_with_progress_and_is_not_fetched_twice(server, release, tmp_path):
    steps = []
    path = fetch(dataclasses.replace(release, sha256=SHA256), tmp_path / "new", lambda *step: steps.append(step))
    assert path == tmp_path / "new" / "fake.ckpt"
    assert path.read_bytes() == CONTENT
    assert contents(path.parent) == ["fake.ckpt"]
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in steps] == sorted({done for done, _ in steps})
    server.status = 500
    assert fetch(release, tmp_path / "new") == path


def test_a_cut_connection_is_resumed_by_the_next_call(server, release, tmp_path):
    leave_half(server, release, tmp_path)
    assert fetch(release, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == ["bytes=1000000-"]
    assert contents(tmp_path) == ["fake.ckpt"]


def test_a_cut_connection_is_followed_by_another_at_once(server, release, tmp_path):
    server.cut_after = 1_000_000
    assert fetch(release, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=1000000-"]


def test_connections_that_bring_nothing_end_it(server, release, tmp_path):
    server.cut_after = 0
    with pytest.raises(WeightsError, match=r"ended after 0 bytes of 3 MB$"):
        fetch(release, tmp_path)
    assert len(server.requests) == 1


def test_a_server_without_ranges_starts_cleanly_anew(server, release, tmp_path):
    leave_half(server, release, tmp_path)
    server.ranges = False
    assert fetch(release, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("obeys_if_range", [True, False])
def test_a_file_that_changed_meanwhile_is_not_mixed_with_the_old(server, release, tmp_path, obeys_if_range):
    leave_half(server, release, tmp_path)
    server.content, server.etag, server.if_range = CONTENT[::-1], '"v2"', obeys_if_range
    assert fetch(release, tmp_path).read_bytes() == CONTENT[::-1]


def test_a_shorter_file_than_what_is_here_starts_anew(server, release, tmp_path):
    leave_half(server, release, tmp_path)
    server.content = CONTENT[:500_000]
    assert fetch(release, tmp_path).read_bytes() == CONTENT[:500_000]


def test_a_server_that_names_no_version_is_not_resumed(server, release, tmp_path):
    server.etag = None
    leave_half(server, release, tmp_path)
    assert fetch(release, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == [None]


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"version": 3}', '{"version": "a\\nb: c"}'])
def test_a_damaged_note_starts_anew(server, release, tmp_path, note):
    leave_half(server, release, tmp_path)
    (tmp_path / "fake.ckpt.part.json").write_text(note)
    assert fetch(release, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == [None]


def test_a_whole_part_only_needs_its_last_check(server, release, tmp_path):
    (tmp_path / "fake.ckpt.part").write_bytes(CONTENT)
    (tmp_path / "fake.ckpt.part.json").write_text(json.dumps({"version": '"v1"', "size": len(CONTENT)}))
    assert fetch(dataclasses.replace(release, sha256=SHA256), tmp_path).read_bytes() == CONTENT
    assert server.requests == []


def test_a_server_that_tells_no_length_is_believed(server, release, tmp_path):
    server.length = False
    steps = []
    assert fetch(release, tmp_path, lambda *step: steps.append(step)).read_bytes() == CONTENT
    assert steps[-1] == (len(CONTENT), None)


@pytest.mark.parametrize("resumed", [False, True])
def test_of_a_wrong_file_nothing_is_kept(server, release, tmp_path, resumed):
    wrong = dataclasses.replace(release, sha256="0" * 64)
    if resumed:
        leave_half(server, wrong, tmp_path)
    with pytest.raises(WeightsError, match=rf"is not fake.ckpt: its sha256 is {SHA256}, must be 0+; nothing was kept"):
        fetch(wrong, tmp_path)
    assert contents(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "message"),
    [(404, "no such file any more"), (403, "does not allow it"), (401, "does not allow it"), (503, "try again later")],
)
def test_refusals_are_one_line(server, release, tmp_path, status, message):
    server.status = status
    with pytest.raises(WeightsError, match=rf"some/fake.ckpt: .*{message}|\(HTTP {status}\)") as caught:
        fetch(release, tmp_path)
    assert "\n" not in str(caught.value) and str(status) in str(caught.value)
    assert contents(tmp_path) == []


def test_nobody_at_home_is_one_line(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(WeightsError, match=rf"^127.0.0.1:{port} cannot be reached: .*refused; check the connection$"):
        fetch(Release("fake", f"http://127.0.0.1:{port}/fake.ckpt", TERMS, "a test"), tmp_path)

    def unknown(*args, **kwargs):
        raise urllib.error.URLError(socket.gaierror(-2, "Name or service not known"))

    monkeypatch.setattr(download, "urlopen", unknown)
    with pytest.raises(WeightsError, match=r"^weights.invalid cannot be reached: its name cannot be resolved"):
        fetch(Release("fake", "http://weights.invalid/fake.ckpt", TERMS, "a test"), tmp_path)


def test_a_silent_server_is_given_up(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        release = Release("fake", f"http://127.0.0.1:{silent.getsockname()[1]}/fake.ckpt", TERMS, "a test")
        with pytest.raises(WeightsError, match=r"no answer within 0.2 s; try again later$"):
            fetch(release, tmp_path, timeout=0.2)


def test_a_disk_too_small_is_found_out_before_the_first_byte(server, release, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(partial_file.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(WeightsError, match=r"3 MB more are needed, 1 kB are free; free some, or choose a folder"):
        fetch(release, tmp_path)
    assert "fake.ckpt" not in contents(tmp_path) and "fake.ckpt.part" not in contents(tmp_path)


def test_a_disk_that_fills_up_keeps_what_has_come(server, release, tmp_path):
    def full(done, total):
        if done > 1_000_000:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(WeightsError, match="the disk is full; what has come is kept"):
        fetch(release, tmp_path, full)
    assert fetch(release, tmp_path).read_bytes() == CONTENT
    assert int(ranges(server)[-1].removeprefix("bytes=").removesuffix("-")) >= 1_000_000


def test_an_interrupted_download_goes_on_later(server, release, tmp_path):
    def stop(done, total):
        if done > 1_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(release, tmp_path, stop)
    assert fetch(release, tmp_path).read_bytes() == CONTENT
    assert ranges(server)[-1] is not None


def hold(target, held, done):
    with partial_file.PartialFile(target).alone():
        held.set()
        done.wait(60)


def test_two_processes_do_not_write_one_file(server, release, tmp_path):
    spawn = multiprocessing.get_context("spawn")
    held, done = spawn.Event(), spawn.Event()
    other = spawn.Process(target=hold, args=(tmp_path / "fake.ckpt", held, done))
    other.start()
    assert held.wait(60)
    with pytest.raises(WeightsError, match=r"another process is fetching .*fake.ckpt; wait for it"):
        fetch(release, tmp_path)
    assert server.requests == []
    other.kill()  # a process that dies holds nothing
    other.join()
    assert fetch(release, tmp_path).read_bytes() == CONTENT


# The hub


@pytest.fixture
def hub(server, monkeypatch):
    """The same server as the hub that HF_ENDPOINT names; these constants are read from it when the library loads."""
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        constants, "HF_HUB_DISABLE_TELEMETRY", True
    )  # newer versions ask the hub for more than the file
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server.hub = {"X-Linked-Etag": f'"{SHA256}"', "X-Linked-Size": str(len(CONTENT)), "X-Repo-Commit": "c" * 40}
    return server


@pytest.fixture
def on_hub():
    return Release("fake", HubFile("lab/weights", "fake.ckpt", gated=True), TERMS, "a test")


def test_the_hub_is_asked_with_the_token_and_its_hash_is_checked(hub, on_hub, tmp_path):
    assert fetch(on_hub, tmp_path).read_bytes() == CONTENT
    assert [(kind, path) for kind, path, _ in hub.requests] == [
        ("HEAD", "/lab/weights/resolve/main/fake.ckpt"),
        ("GET", "/lab/weights/resolve/main/fake.ckpt"),
    ]
    for _, _, headers in hub.requests:
        assert {k.lower(): v for k, v in headers.items()}["authorization"] == "Bearer hf_secret"


def test_another_file_than_the_hub_announced_is_refused(hub, on_hub, tmp_path):
    hub.content = CONTENT[::-1]
    with pytest.raises(WeightsError, match=f"must be {SHA256}; nothing was kept"):
        fetch(on_hub, tmp_path)
    assert contents(tmp_path) == []


def test_the_token_stays_with_the_hub_when_the_bytes_lie_elsewhere(hub, on_hub, tmp_path):
    with Server() as store:
        thread = threading.Thread(target=store.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        hub.status, hub.hub["Location"] = 302, f"{store.url}/blob?signature=s"
        store.cut_after, store.etag = 1_000_000, None  # stores name versions in their own way
        assert fetch(on_hub, tmp_path).read_bytes() == CONTENT
        store.shutdown()
        thread.join()
    assert ranges(store) == [None, "bytes=1000000-"]
    for _, _, headers in store.requests:
        assert not {"authorization", "if-range"} & {k.lower() for k in headers}


def test_a_hub_file_replaced_meanwhile_starts_anew(hub, on_hub, tmp_path):
    leave_half(hub, on_hub, tmp_path)
    hub.content = CONTENT[::-1]
    hub.hub["X-Linked-Etag"] = hashlib.sha256(hub.content).hexdigest()
    assert fetch(on_hub, tmp_path).read_bytes() == CONTENT[::-1]
    assert ranges(hub) == [None]


def test_a_known_hash_is_held_against_the_hub_before_anything_is_fetched(hub, on_hub, tmp_path):
    with pytest.raises(WeightsError, match="is no longer the file this version knows"):
        fetch(dataclasses.replace(on_hub, sha256="1" * 64), tmp_path)
    assert ranges(hub) == []


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (401, "GatedRepo", r"/lab/weights is gated: accept its licence there .* set HF_TOKEN to a token of it$"),
        (403, "GatedRepo", r"is gated: accept its licence there"),
        (401, "RepoNotFound", r"is gated: accept its licence there"),
        (404, "EntryNotFound", r"has no file fake.ckpt any more"),
        (500, "", r"refused fake.ckpt: .*500"),
    ],
)
def test_what_the_hub_refuses_is_one_line(hub, on_hub, tmp_path, status, code, message):
    hub.status, hub.hub = status, {"X-Error-Code": code}
    with pytest.raises(WeightsError, match=message) as caught:
        fetch(on_hub, tmp_path)
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == []


def test_without_a_network_the_hub_is_one_line(hub, on_hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"HF_HUB_OFFLINE is set, so fake.ckpt is not fetched; unset it"):
        fetch(on_hub, tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{revision}/{filename}")
    with pytest.raises(WeightsError, match=r"^127.0.0.1:9 cannot be reached \(.*\); check the connection$"):
        fetch(on_hub, tmp_path)
