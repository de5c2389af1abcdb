"""The wire under every provider: a pool of connections per host, its calls repeated where that helps.

The only module that imports httpx. Its engine is aiohttp where `httpx-aiohttp` is installed (a quarter of the
processor time on streams), else httpx's own.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import ssl
import urllib.request
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Protocol
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import httpx
import orjson

from messages import ProviderEvent, clean
from patience import Expired, Patience
from providers.base import AuthError, BadResponse
from providers.errors import error_of, parse, quote
from providers.limits import LONGEST_ANSWER, LONGEST_COMPLAINT, Timeouts, timeouts
from providers.network import TypedErrors, without
from providers.retries import Attempt, Retries, Try, late
from providers.sse import Events

FORM_SECONDS = 30.0
"""For what is no model call: a token, a list."""
IDLE_SECONDS = 5.0
"""That a connection is kept for the next call. Servers close theirs after as many or more."""
AHEAD = 16 * 1024
"""Bytes of an answer, at most twice as many, that wait here for a client that is slower than its provider."""
HEADERS = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "skill-agent"}
MOST_KEPT = 100
"""Connections of a host that may have been closed while nobody looked."""


class Auth(Protocol):
    """Where a host's credentials come from. `is_callers`: from whoever is being answered now."""

    @property
    def is_callers(self) -> bool: ...

    async def headers(self) -> Mapping[str, str]: ...

    def renew(self, sent: Mapping[str, str]) -> bool:
        """Told that `sent` was refused; True where asking again may give something else."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class HeaderAuth:
    """A key that does not change."""

    name: str
    value: str
    is_callers = False

    async def headers(self) -> Mapping[str, str]:
        return {self.name: self.value}

    def renew(self, sent: Mapping[str, str]) -> bool:
        return False


class LoopLock:
    """A lock for what outlives event loops: each loop that comes gets a new one, as asyncio's stays with its first."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def here(self) -> asyncio.Lock:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._lock = loop, asyncio.Lock()
        return self._lock


def bearer(token: str) -> HeaderAuth:
    return HeaderAuth("authorization", f"Bearer {token}")


class Http:
    """The connections of a process: a pool for each host and event loop, closed with its loop at the latest.

    `timeouts` are every provider's, else each has its own, but for the `given` ones (`limits.timeouts`).
    `backoff`: the most seconds before a call is repeated for the first time.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport | None = None,
        timeouts: Timeouts | None = None,
        backoff: float = 0.5,
        given: Mapping[str, float] | None = None,
    ) -> None:
        self._timeouts = timeouts
        self._given = given or {}
        self._backoff = backoff
        self._transport = transport
        self._retries: dict[str, Retries] = {}
        self.repeated: Counter[str] = Counter()
        self._kept: Counter[str] = Counter()
        self._transports: WeakKeyDictionary[
            asyncio.AbstractEventLoop, dict[str, tuple[httpx.AsyncBaseTransport, AsyncGenerator[None, None]]]
        ] = WeakKeyDictionary()

    def limits(self, provider: str) -> Timeouts:
        return self._timeouts or timeouts(provider, self._given)

    async def _connected(self, origin: str) -> httpx.AsyncBaseTransport:
        """httpx's transport, without the client around it: redirects are not followed, and no cookie is kept, which
        would be one caller's with the next one's request.
        """
        transports = self._transports.setdefault(asyncio.get_running_loop(), {})
        if origin not in transports:
            transport = self._transport or _engine(origin)
            lifetime = self._lifetime(origin, transport)
            transports[origin] = transport, lifetime
            await anext(lifetime)
        return transports[origin][0]

    async def _lifetime(self, origin: str, transport: httpx.AsyncBaseTransport) -> AsyncGenerator[None, None]:
        """Closes the transport when it is closed, or when its event loop shuts its async generators down."""
        try:
            yield
        finally:
            self._transports.get(asyncio.get_running_loop(), {}).pop(origin, None)
            await transport.aclose()

    async def aclose(self) -> None:
        for _, lifetime in self._transports.pop(asyncio.get_running_loop(), {}).values():
            await lifetime.aclose()

    async def post_form(self, url: str, form: Mapping[str, str], user: str, password: str) -> Any:
        """The JSON answer to a form (OAuth token endpoints)."""
        named = base64.b64encode(f"{user}:{password}".encode()).decode()
        with TypedErrors("oauth", _host(url)):
            credential = {"authorization": f"Basic {named}"}
            status, headers, content = await self._short("POST", url, credential, LONGEST_COMPLAINT, data=dict(form))
            if status >= 300:
                raise error_of(status, content, headers, "oauth")
            return parse(content, "oauth")

    async def get(self, url: str, auth: Auth, provider: str) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body, of which there may be more than is given."""
        with TypedErrors(provider, _host(url)):
            return await self._short("GET", url, await auth.headers())

    async def _short(
        self, method: str, url: str, headers: Mapping[str, str], most: int = LONGEST_ANSWER, **content: Any
    ) -> tuple[int, httpx.Headers, bytes]:
        """An answer that is taken whole."""
        waits = {"timeout": httpx.Timeout(FORM_SECONDS).as_dict()}
        request = httpx.Request(method, _address(url), headers={**HEADERS, **headers}, extensions=waits, **content)
        response = await (await self._connected(_origin(url))).handle_async_request(request)
        async with _closing(response):
            return response.status_code, response.headers, await _read(response, most)

    def retrying(
        self, attempt: Attempt, provider: str, url: str, until: float = math.inf
    ) -> AsyncGenerator[ProviderEvent, None]:
        """The events of `attempt`, a call of this address, begun anew after a passing fault until there is one."""
        retries = self._retries.setdefault(_origin(url), Retries(self._backoff, self.repeated))
        return retries.stream(attempt, provider, self.limits(provider), until)

    @asynccontextmanager
    async def open(
        self, url: str, body: object, auth: Auth, this: Try, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Opened]:
        """POST `body` and give the response with its head read and its body not. Raises `ProviderError`.

        A credential that is refused is renewed once. A connection that was kept open may have been closed meanwhile,
        which shows only when it is used: the request is sent once more on another one, which costs no attempt. A host
        that has not answered since its connections were last lost is not given that.
        """
        content = _encoded(body)
        del body
        head = {**HEADERS, "content-type": "application/json", **(headers or {})}
        origin = _origin(url)
        renewed = reopened = False
        while True:
            credential = _sendable(await auth.headers(), this.provider)
            try:
                with TypedErrors(this.provider, _host(url), credential):
                    opened = await self._sent(url, content, head, credential, this)
                self._kept[origin] = min(self._kept[origin] + 1, MOST_KEPT)
                break
            except AuthError as error:
                error.callers = auth.is_callers
                if renewed or not auth.renew(credential):
                    raise
                renewed = True
            except BadResponse as error:
                if reopened or error.code != "upstream_disconnected" or not self._kept[origin]:
                    raise
                reopened = True
                self._kept[origin] -= 1
        # An answer may take minutes: what was asked is not kept in memory meanwhile.
        del content
        with TypedErrors(this.provider, _host(url), credential):
            try:
                yield opened
            finally:
                await opened.body.aclose()

    async def _sent(
        self, url: str, content: bytes, head: Mapping[str, str], credential: Mapping[str, str], this: Try
    ) -> Opened:
        # Reading is bounded byte for byte, see `_chunks`, and all before it by the first event's limit.
        waits = {"timeout": {"connect": this.limits.connect, "pool": this.limits.connect, "read": None, "write": None}}
        headers = {**head, **credential}
        request = httpx.Request("POST", _address(url), headers=headers, content=content, extensions=waits)
        response = await (await self._connected(_origin(url))).handle_async_request(request)
        if response.status_code < 300:
            return Opened.of(response)
        async with _closing(response):
            words = await _read(response, LONGEST_COMPLAINT)
        # Before it is cut to a quote, which could leave half a key.
        words = without(credential, words.decode("utf-8", "replace")).encode()
        raise error_of(response.status_code, words, response.headers, this.provider)

    async def payloads(self, opened: Opened, this: Try) -> AsyncGenerator[bytes, None]:
        """The data of each server-sent event; a JSON answer is one."""
        provider = this.provider
        if opened.packed:
            words = f"the answer is compressed ({quote(opened.packed)}), which was not asked for"
            raise BadResponse(words, provider=provider, retryable=False)
        async with aclosing(_chunks(opened.body, this)) as chunks:
            if opened.kind.endswith("json"):
                yield b"".join([chunk async for chunk in chunks])
                return
            if opened.kind == "text/html":
                page = b"".join([chunk async for chunk in chunks])
                raise BadResponse(f"a web page came instead of an answer: {quote(page)}", provider=provider)
            found = Events(provider)
            async for chunk in chunks:
                for data in found.of(chunk):
                    yield data
            for data in found.rest():
                yield data


@dataclass(frozen=True, slots=True)
class Opened:
    """A response whose head is read: its `kind`, as in "text/event-stream", how it is `packed`, "" for not at all,
    and its `body`, which is not read. No more of it is kept, as an answer may take minutes.
    """

    kind: str
    packed: str
    body: httpx.AsyncByteStream

    @classmethod
    def of(cls, response: httpx.Response) -> Opened:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        return cls(kind, _packed(response), _body(response))


def warm() -> None:
    """Imports the engine, which takes a tenth of a second, before the first call needs it."""
    with suppress(ImportError):
        import httpx_aiohttp  # noqa: F401


def _engine(host: str) -> httpx.AsyncBaseTransport:
    proxy = _proxy(host)
    try:
        from aiohttp import ClientSession, DummyCookieJar, TCPConnector
        from httpx_aiohttp import AiohttpTransport
    except ImportError:
        return httpx.AsyncHTTPTransport(_tls(), proxy=proxy, limits=httpx.Limits(max_connections=None))

    def session() -> ClientSession:
        # 0 lifts aiohttp's limit of 100.
        connector = TCPConnector(limit=0, ssl=_tls(), keepalive_timeout=IDLE_SECONDS)
        return ClientSession(connector=connector, cookie_jar=DummyCookieJar(), read_bufsize=AHEAD)

    return AiohttpTransport(_tls(), proxy=httpx.Proxy(proxy) if proxy else None, client=session)


@cache
def _tls() -> ssl.SSLContext:
    """One for the process: reading the certificates blocks for 25 ms and more."""
    return httpx.create_ssl_context()


def _proxy(host: str) -> str | None:
    """The proxy that the environment names for this host, as curl and urllib read it."""
    parts = urlsplit(host)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def _encoded(body: object) -> bytes:
    """JSON. What orjson does not take is mended: lone surrogates, and integers of more than 64 bits."""
    try:
        # A copy, as orjson's bytes keep the room that they were written in (3.13): 4 KB for the shortest.
        return bytes(memoryview(orjson.dumps(body)))
    except orjson.JSONEncodeError:
        return clean(json.dumps(body, ensure_ascii=False)).encode()


def _sendable(headers: Mapping[str, str], provider: str) -> Mapping[str, str]:
    """The engines' own errors for these would show the credential."""
    if not all(value.isascii() and value.isprintable() for value in headers.values()):
        raise AuthError("the credential holds characters that no header can carry", provider=provider)
    return headers


@lru_cache
def _address(url: str) -> httpx.URL:
    return httpx.URL(url)


@lru_cache
def _origin(url: str) -> str:
    return "{0.scheme}://{0.netloc}".format(urlsplit(url))


def _host(url: str) -> str:
    """With its port, without a user's name and password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _packed(response: httpx.Response) -> str:
    named = response.headers.get("content-encoding", "").strip().lower()
    return "" if named == "identity" else named


def _body(response: httpx.Response) -> httpx.AsyncByteStream:
    assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - what async transports give
    return response.stream


@asynccontextmanager
async def _closing(response: httpx.Response) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await _body(response).aclose()


async def _read(response: httpx.Response, most: int) -> bytes:
    """The body's beginning, as far as it comes: it only says more of what the status has said. b"" if compressed."""
    body = bytearray()
    with suppress(httpx.HTTPError, httpx.StreamError):
        async for chunk in _body(response):
            body += chunk
            if len(body) >= most:
                break
    return b"" if _packed(response) else bytes(body[:most])


async def _chunks(body: httpx.AsyncByteStream, this: Try) -> AsyncGenerator[bytes, None]:
    """The body's bytes, each of them waited for as long as the try allows."""
    pieces, size = aiter(body), 0
    patience = Patience()
    try:
        while True:
            patience.until, _ = this.patience
            try:
                with patience:
                    chunk = await anext(pieces, None)
            except Expired as error:
                raise late(this) from error
            if chunk is None:
                return
            size += len(chunk)
            if size > LONGEST_ANSWER:
                words = f"an answer of more than {LONGEST_ANSWER >> 20} MiB"
                code = "upstream_response_too_large"
                raise BadResponse(words, provider=this.provider, code=code, retryable=False)
            yield chunk
    finally:
        patience.close()
