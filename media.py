"""Pictures, files and sounds as clients send them: data URIs, or addresses that the provider fetches and never we."""

from __future__ import annotations

import binascii
import ipaddress
import re
from base64 import b64decode
from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator

from messages import File, Image

DATA = "expected data:<media type>;base64,<data>"
INSIDE = (".localhost", ".local", ".internal", ".home.arpa")
"""Ends of names that lead into a private network: RFC 6761, RFC 6762, RFC 8375, and ICANN's `.internal`."""


def _data_uri(uri: str) -> str:
    """RFC 2397, base64 only."""
    head, comma, data = uri.partition(",")
    if not (comma and head.startswith("data:") and head.endswith(";base64") and _media_type(head)):
        raise ValueError(DATA)
    _base64(data)
    return uri


def _base64(data: str) -> str:
    try:
        b64decode(data, validate=True)
    except (ValueError, binascii.Error):
        raise ValueError("this is not base64") from None
    return data


def _address(url: str) -> str:
    """A picture's place: a data URI, or https on the public network, as a provider would fetch a private one for us."""
    if url.startswith("data:"):
        return _data_uri(url)
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        host = ""
    # A backslash or a space leads some readers to another host than ours.
    if not host or parts.scheme != "https" or not url.isprintable() or {" ", "\\"} & set(url):
        raise ValueError(f"{DATA}, or an https address")
    if _is_inside(host):
        raise ValueError("the address lies in a private network")
    return url


def _is_inside(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host.partition("%")[0]).is_global
    except ValueError:
        name = host.rstrip(".").lower()
        # Without a dot, or with a number at the end, as in 127.1 or 127.0.0.0x1: no public name looks like that.
        last = name.rpartition(".")[2]
        return "." not in name or name.endswith(INSIDE) or bool(re.fullmatch(r"\d+|0x[0-9a-f]*", last))


DataUri: TypeAlias = Annotated[str, AfterValidator(_data_uri)]
Base64: TypeAlias = Annotated[str, AfterValidator(_base64)]
ImageAddress: TypeAlias = Annotated[str, AfterValidator(_address)]


def image(url: ImageAddress, detail: str | None) -> Image:
    if not url.startswith("data:"):
        return Image(url=url, detail=detail or "")
    return Image(_media_type(url), url.partition(",")[2], detail=detail or "")


def file(uri: DataUri, name: str | None) -> File:
    return File(_media_type(uri), uri.partition(",")[2], name or "")


def _media_type(uri: str) -> str:
    return uri.partition(",")[0].removeprefix("data:").removesuffix(";base64").partition(";")[0]
