"""Downloads of released weights: only when asked for, resumed where they stopped, checked, and whole or not there.

What has come lies in a `PartialFile`. The next connection asks the server to go on from there if the file is still the
same version, and starts anew if it is not. Only a complete file of the right size and, where known, hash gets the name.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from zero123.files import writable_folder
from zero123.models.weights.errors import WeightsError
from zero123.models.weights.partial_file import PartialFile, Progress
from zero123.models.weights.registry import HubFile, Release, readable_size, weights_folder

_BLOCK = 2**18


def download(
    release: Release,
    folder: str | Path | None = None,
    progress: Progress | None = None,
    *,
    timeout: float = 30.0,
    tries: int = 20,
) -> Path:
    """The file of a release, fetched if it is not there yet; a part of it left by an earlier call is completed.

    Args:
        release: what to get.
        folder: where to put it; None: where `registry.local_path` looks.
        progress: told how far it is.
        timeout: seconds without a byte after which the server counts as gone.
        tries: how often to connect before giving up; only connections that brought something are followed by another.

    Raises:
        WeightsError: no connection, no such file, no permission, no room, another process is at it, or the bytes that
            came are not the file. What can be resumed is kept and the message says so.
        OSError: the folder cannot be written.
    """
    target = Path(folder if folder is not None else weights_folder()) / release.file
    if target.is_file():
        return target
    writable_folder(target.parent)
    part = PartialFile(target)
    with part.alone():
        while not target.is_file():
            before, tries = part.size, tries - 1
            try:
                _attempt(release, part, progress, timeout)
            except _CutOff as error:
                if tries < 1 or part.size == before:  # asking again would end the same way
                    kept = f"; {readable_size(part.size)} are kept, run it again to go on" if part.size else ""
                    raise WeightsError(f"{error}{kept}") from error
    return target


def _attempt(release: Release, part: PartialFile, progress: Progress | None, timeout: float) -> None:
    """One connection, to the end of the file if all goes well."""
    offer = _hub_offer(release.where, timeout) if isinstance(release.where, HubFile) else _Offer(release.where)
    wanted = release.sha256
    if wanted and offer.sha256 and wanted != offer.sha256:
        raise WeightsError(
            f"{release.source} is no longer the file this version knows (sha256 {offer.sha256}, known is {wanted}); "
            "if you trust it, download it yourself and give its path"
        )
    if offer.version is not None and offer.version != part.version:
        part.discard()
    if not part.is_whole:
        with _connect(offer, part, timeout) as response:
            total = _continue(response, offer, part)
            part.make_sure_it_fits(total)
            part.append(_blocks(response), total, progress)
        if total is not None and part.size != total:
            raise _CutOff(f"the connection ended after {readable_size(part.size)} of {readable_size(total)}")
    part.finish(wanted or offer.sha256, offer.host)


# What is offered


@dataclass(frozen=True)
class _Offer:
    """What is known before the first byte: address, and for files on the hub secret headers, size, version, hash."""

    url: str
    secret: dict[str, str] = field(default_factory=dict)
    size: int | None = None
    version: str | None = None
    sha256: str | None = None

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc


def _hub_offer(where: HubFile, timeout: float) -> _Offer:
    """What the hub says of a file; asks as its own library does, so that HF_ENDPOINT, HF_TOKEN and the like count."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # it would fetch a list that nobody asked for
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    url = hf_hub_url(where.repository, where.file)
    headers = build_hf_headers(library_name="zero123")
    host = urlsplit(url).netloc
    try:
        found = get_hf_file_metadata(url, timeout=timeout, headers=headers)
    except OfflineModeIsEnabled as error:
        raise WeightsError(f"HF_HUB_OFFLINE is set, so {where.file} is not fetched; unset it") from error
    except GatedRepoError as error:
        raise WeightsError(_permission(where)) from error
    except RepositoryNotFoundError as error:
        advice = _permission(where) if where.gated else f"{where.page}: {host} has no such repository, or hides it"
        raise WeightsError(advice) from error
    except EntryNotFoundError as error:
        raise WeightsError(f"{where.page}: has no file {where.file} any more") from error
    except HfHubHTTPError as error:
        raise WeightsError(f"{host} refused {where.file}: {_one_line(error)}") from error
    except Exception as error:  # of whichever library it speaks HTTP with
        raise WeightsError(f"{host} cannot be reached ({_one_line(error)}); check the connection") from error
    same_host = urlsplit(found.location).netloc == host
    secret = {k: v for k, v in headers.items() if k.lower() == "authorization"} if same_host else {}
    is_hash = found.etag is not None and len(found.etag) == 64
    return _Offer(found.location, secret, found.size, found.etag, found.etag if is_hash else None)


def _permission(where: HubFile) -> str:
    return f"{where.page} is gated: accept its licence there with your account, then set HF_TOKEN to a token of it"


# The transfer


class _CutOff(Exception):
    """The connection ended too early; another one may go on."""


@contextmanager
def _connect(offer: _Offer, part: PartialFile, timeout: float) -> Iterator[HTTPResponse]:
    request = Request(offer.url, headers={"User-Agent": "zero123", "Accept-Encoding": "identity"})
    for name, value in offer.secret.items():
        request.add_unredirected_header(name, value)  # a token is for its own host only
    if part.version is not None:
        request.add_header("Range", f"bytes={part.size}-")
        if offer.version is None:
            request.add_header("If-Range", part.version)
    try:
        response = cast(HTTPResponse, urlopen(request, timeout=timeout))
    except HTTPError as error:
        error.close()
        if error.code == 416:  # the file is not longer than what is here
            part.discard()
            raise _CutOff(f"{offer.host} has another {part.target.name} now; it must start anew") from error
        raise WeightsError(_refusal(error.code, offer)) from error
    except (OSError, HTTPException) as error:
        raise _unreachable(error, offer, part, timeout) from error
    with response:
        yield response


def _continue(response: HTTPResponse, offer: _Offer, part: PartialFile) -> int | None:
    """Make the partial file fit to what comes now; the bytes of the whole file, or None."""
    version = _version(response)
    if response.status == 206 and (offer.version is not None or version in (None, part.version)):
        first, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        if first.partition("-")[0] == str(part.size):
            return int(total) if total.isdigit() else offer.size
    if response.status == 206:  # a piece of something else
        part.discard()
        raise _CutOff(f"{offer.host} has another {part.target.name} now; it must start anew")
    length = response.headers.get("Content-Length", "")
    size = int(length) if length.isdigit() else offer.size
    part.begin(offer.version or version, size)
    return size


def _version(response: HTTPResponse) -> str | None:
    """What names this version of the file and may stand in If-Range: a strong entity tag, or else the date."""
    tag = response.headers.get("ETag")
    return tag if tag is not None and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _blocks(response: HTTPResponse) -> Iterator[bytes]:
    try:
        while block := response.read(_BLOCK):
            yield block
    except (OSError, HTTPException) as error:
        raise _CutOff(f"the connection broke ({_one_line(error)})") from error


# Troubles in one line


def _refusal(code: int, offer: _Offer) -> str:
    address = offer.url.partition("?")[0]  # what follows may be a signature
    if code in (404, 410):
        return f"{address}: no such file any more (HTTP {code})"
    if code in (401, 403):
        return f"{address}: the server does not allow it (HTTP {code})"
    return f"{address}: the server answered HTTP {code}; try again later"


def _unreachable(error: Exception, offer: _Offer, part: PartialFile, timeout: float) -> Exception:
    """Why there was no answer. Once something has come this is a pause, not a refusal."""
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, socket.gaierror):
        why = "its name cannot be resolved; check the connection"
    elif isinstance(reason, TimeoutError):
        why = f"no answer within {timeout:g} s; try again later"
    elif isinstance(reason, ssl.SSLCertVerificationError):
        why = "its certificate cannot be verified; point SSL_CERT_FILE to trusted certificates"
    else:
        why = f"{_one_line(reason)}; check the connection"
    message = f"{offer.host} cannot be reached: {why}"
    return _CutOff(message) if part.size else WeightsError(message)


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
