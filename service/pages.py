"""The pages for people, `/` and `/docs`, and all that they are made of: they work offline."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOLDER = Path(__file__).resolve().parent.parent / "web"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".json": "application/json",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types dompurify"
)
"""Model output is hostile: no code but ours, no request to anywhere else, no HTML but what DOMPurify has seen."""
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "vary": "accept-encoding",
}
FOREVER = "public, max-age=31536000, immutable"
ASK = "no-cache"
SMALL = 600
"""Bytes below which nothing is gained by packing."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the pages; `packed` is its gzip, b"" where that is not worth it. The tag is weak: both have it."""

    media_type: str
    data: bytes
    packed: bytes
    etag: str

    @classmethod
    def of(cls, suffix: str, data: bytes) -> Asset:
        packed = gzip.compress(data, 9, mtime=0) if len(data) > SMALL else b""
        etag = f'W/"{hashlib.sha256(data).hexdigest()[:20]}"'
        return cls(TYPES[suffix], data, packed, etag)


async def chat(request: Request) -> Response:
    return await _page(request, "index.html")


async def docs(request: Request) -> Response:
    return await _page(request, "docs.html")


async def asset(request: Request) -> Response:
    """A file under the version that a page names; of another version's page as it is now, not to be kept."""
    version, files = await asyncio.to_thread(_files)
    found = files.get(request.path_params["path"])
    if found is None:
        raise HTTPException(404, "there is no such file")
    return _answer(request, found, FOREVER if request.path_params["version"] == version else ASK)


async def _page(request: Request, name: str) -> Response:
    _, files = await asyncio.to_thread(_files)
    return _answer(request, files[name], ASK)


def _answer(request: Request, found: Asset, caching: str) -> Response:
    headers = {**HEADERS, "etag": found.etag, "cache-control": caching}
    if found.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if found.packed and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.packed, headers={**headers, "content-encoding": "gzip"}, media_type=found.media_type)
    return Response(found.data, headers=headers, media_type=found.media_type)


@cache
def _files() -> tuple[str, Mapping[str, Asset]]:
    """The version, a digest of all files, and each of them. Pages name the version in every address, so that what a
    browser has kept is never mixed with a newer page.
    """
    read = {
        path.relative_to(FOLDER).as_posix(): path.read_bytes()
        for path in sorted(FOLDER.rglob("*"))
        if path.is_file() and path.suffix in TYPES
    }
    version = hashlib.sha256(b"".join(name.encode() + data for name, data in read.items())).hexdigest()[:12]
    for name in ("index.html", "docs.html"):
        read[name] = read[name].replace(b'"web/', f'"web/{version}/'.encode())
    return version, {name: Asset.of(Path(name).suffix, data) for name, data in read.items()}


ROUTES = (Route("/", chat), Route("/docs", docs), Route("/web/{version}/{path:path}", asset))
