"""Hostile and broken uploads: each is refused by a 4xx and one line, at once, and the service goes on."""

import asyncio
import io
import struct
import tempfile
import time
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")

from served import png, posted, served

from zero123.service import guard
from zero123.service.settings import Refused
from zero123.service.uploads import read_upload

SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width, height, *more):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more)


def saved(form, size=(64, 64)):
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("evil.sh", "true")
    return file.getvalue()


HOSTILE = {
    "nothing": (b"", 400, "empty"),
    "a script drawing": (SVG, 415, "not a PNG"),
    "a page": (b"<html><script>alert(1)</script></html>", 415, "not a PNG"),
    "an archive": (zipped(), 415, "not a PNG"),
    "a GIF": (saved("GIF"), 415, "not a PNG"),
    "a TIFF": (saved("TIFF"), 415, "not a PNG"),
    "a signature alone": (b"\x89PNG\r\n\x1a\n", 422, "picture"),
    "cut short": (png()[: len(png()) // 2], 422, "damaged or cut short"),
    "a bit turned": (png()[:60] + bytes([png()[60] ^ 1]) + png()[61:], 422, "damaged"),
    "a bomb of pixels": (png_of(50_000, 50_000, chunk(b"IDAT", zlib.compress(b"\0" * 10**6))), 422, "million"),
    "a bomb of text": (
        png_of(
            64, 64, chunk(b"zTXt", b"k\0\0" + zlib.compress(b" " * 10**8)), chunk(b"IDAT", b""), chunk(b"IEND", b"")
        ),
        422,
        "damaged",
    ),
    "too many pixels": (saved("PNG", (1100, 1000)), 422, "over 1 million"),
    "too small": (saved("PNG", (8, 8)), 422, "too small"),
    "an archive behind a picture": (png() + zipped(), 422, "second file"),
    "a page behind a picture": (saved("JPEG") + b"<HTML><script>", 422, "second file"),
    "a document behind a picture": (saved("WEBP") + b"%PDF-1.7", 422, "second file"),
    "another picture's name": (b"RIFF\xff\xff\xff\xffWEBPVP8 " + b"\0" * 40, 422, "picture"),
}


@pytest.fixture(scope="module")
def service(tiny, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        limits = {"max_pixels": 10**6, "max_bytes": 4_000_000}
        with served(patch, tiny, tmp_path_factory.mktemp("service"), **limits) as service:
            yield service


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_at_once_in_one_line(service, name):
    data, status, words = HOSTILE[name]
    start = time.process_time()
    views, mesh = service.ask.all(
        ("POST", "/v1/views", posted(data)),
        ("POST", "/v1/reconstruct", posted(data)),  # a job is refused when it is posted, not when it is begun
    )
    assert time.process_time() - start < 3
    for answer in (views, mesh):
        assert answer.status_code == status, answer.text
        assert words in answer.json()["error"]
        assert "\n" not in answer.json()["error"]
    assert service.ask("GET", "/health").status_code == 200
    assert not list(service.settings.folder.glob("*/job.json"))


def test_what_cameras_and_phones_write_is_taken():
    for form in ("PNG", "JPEG", "WEBP"):
        assert read_upload(saved(form), 10**6).image.size == (64, 64)
    trailing = saved("JPEG") + b"\0\0\0\x18ftypmp42" + bytes(1000)  # a phone's moving picture
    assert read_upload(trailing, 10**6).image.size == (64, 64)


def test_of_what_is_sent_nothing_but_pixels_is_kept():
    hidden = png()[:-12] + chunk(b"tEXt", b"Comment\0" + SVG) + png()[-12:]
    kept = io.BytesIO()
    read_upload(hidden, 10**6).image.save(kept, "PNG")
    assert b"script" in hidden
    assert b"script" not in kept.getvalue()
    with pytest.raises(Refused):
        read_upload(hidden + zipped(), 10**6)


def test_requests_over_the_limit_are_refused_whether_they_say_their_length_or_not(service):
    big = png() + bytes(4_000_000)
    told = service.ask("POST", "/v1/views", **posted(big))
    assert told.status_code == 413
    assert "over 4 MB" in told.json()["error"]

    async def pieces():
        yield b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a.png"\r\n\r\n'
        for _ in range(50):
            yield bytes(100_000)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    untold = service.ask("POST", "/v1/views", content=pieces(), headers=headers)
    assert untold.status_code == 413
    assert "over 4 MB" in untold.json()["error"]


def test_what_is_no_form_at_all_is_told_in_one_line(service):
    for request in (
        {"content": b"{}", "headers": {"content-type": "application/json"}},
        {"content": b"garbage", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        {"content": b"garbage", "headers": {"content-type": "multipart/form-data"}},
        {"data": {"picture": "not a file"}},
        {},
    ):
        answer = service.ask("POST", "/v1/views", **request)
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.json().keys() == {"error"}


def test_no_temporary_folder_is_needed(service, monkeypatch):
    def missing(*_):
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", missing)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", missing)
    monkeypatch.setattr(tempfile, "tempdir", None)
    large = saved("PNG", (850, 850))
    assert len(large) > 2_000_000  # over what forms are parsed in memory by default
    assert service.ask("POST", "/v1/views", **posted(large, background="plain")).status_code in (200, 422)
    assert service.ask("POST", "/v1/orbit", **posted(large, frames=3, background="plain")).status_code == 202


def test_web_pages_from_elsewhere_and_foreign_names_are_refused(service, tiny, tmp_path, monkeypatch):
    ask = service.ask
    assert ask("GET", "/v1/model", headers={"origin": "http://evil.example"}).status_code == 403
    assert ask("GET", "/v1/model", headers={"host": "rebound.example"}).status_code == 421
    plain = ask("GET", "/v1/model", headers={"origin": "http://127.0.0.1"})
    assert plain.status_code == 200
    assert not [name for name in plain.headers if name.startswith("access-control")]
    with served(monkeypatch, tiny, tmp_path, origins=("https://good.example",)) as open_service:
        good = open_service.ask("GET", "/v1/model", headers={"origin": "https://good.example"})
        assert good.headers["access-control-allow-origin"] == "https://good.example"
        bad = open_service.ask("GET", "/v1/model", headers={"origin": "https://evil.example"})
        assert (bad.status_code, bad.headers.get("access-control-allow-origin")) == (403, None)


def test_who_sends_nothing_more_is_not_waited_for(service, monkeypatch):
    monkeypatch.setattr(guard, "_PATIENCE", 0.1)

    async def pieces():
        yield b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a.png"\r\n\r\n'
        await asyncio.sleep(5)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = service.ask("POST", "/v1/views", content=pieces(), headers=headers)
    assert answer.status_code == 408
    assert "nothing came" in answer.json()["error"]
