"""Uploaded bytes to a picture, or to one line that says why not; nothing of them is ever stored or sent as it came."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from PIL import Image

from zero123.images import io
from zero123.service.settings import Refused

_FORMATS = ("PNG", "JPEG", "WEBP")

_FOREIGN = (b"PK\x03\x04", b"PK\x05\x06", b"%PDF-", b"Rar!", b"7z\xbc\xaf", b"\x7fELF", b"<html", b"<script", b"<?php")
"""How files of other kinds begin (a ZIP also how it ends) that have been hidden behind pictures."""


@dataclass(frozen=True)
class Upload:
    """An uploaded picture; equal to another of the same bytes.

    Attributes:
        digest: SHA-256 of the file.
        image: decoded, upright, in sRGB, RGB or RGBA, its longer side `images.io.MAX_SIDE` at most.
    """

    digest: str
    image: Image.Image = field(compare=False)


def read_upload(data: bytes, max_pixels: int) -> Upload:
    """The picture in a file's bytes.

    Raises:
        Refused: 400 nothing was sent, 415 not a PNG, JPEG or WebP, 422 damaged, too large, too small or two files in
            one.
    """
    if not data:
        raise Refused(400, "the picture is empty: send a PNG, JPEG or WebP file in the field 'picture'")
    kind = _kind(data)
    if kind is None:
        raise Refused(415, "the picture is not a PNG, JPEG or WebP file")
    if any(mark in _behind(data, kind).lower() for mark in map(bytes.lower, _FOREIGN)):
        raise Refused(422, "the picture holds a second file behind its end: save it again as a plain picture")
    try:
        pixels = io.loads(data, "the picture", (kind,), max_pixels=max_pixels)
    except io.PictureError as error:
        raise Refused(422, str(error)) from error
    return Upload(hashlib.sha256(data).hexdigest(), io.to_pillow(pixels))


def _kind(data: bytes) -> str | None:
    """The format whose signature the file has."""
    signs = (data.startswith(b"\x89PNG\r\n\x1a\n"), data.startswith(b"\xff\xd8\xff"), data[8:12] == b"WEBP")
    return next((kind for kind, sign in zip(_FORMATS, signs, strict=True) if sign), None)


def _behind(data: bytes, kind: str) -> bytes:
    """What follows the picture's last end mark."""
    if kind == "WEBP":
        return data[8 + int.from_bytes(data[4:8], "little") :]
    mark = b"IEND" if kind == "PNG" else b"\xff\xd9"
    end = data.rfind(mark)
    return b"" if end < 0 else data[end + len(mark) :]
