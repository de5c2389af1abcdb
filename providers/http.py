"""The wire under every provider: a pooled client per host, retries, server-sent events, error mapping.

The only module that imports httpx. Its engine is aiohttp where `httpx-aiohttp` is installed (a quarter of the
processor time on streams), else httpx's own.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import httpx
import orjson
import tenacity

from messages import clean
from providers.base import AuthError, BadResponse, ProviderDown, ProviderError
from providers.errors import error_of, parse, quote

ATTEMPTS = 3
LONGEST_RETRY_AFTER = 60.0
"""Seconds; a provider that asks for more is not waited for."""
LONGEST_EVENT = 8 << 20
"""Bytes of one server-sent event."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: until a connection stands, until the first event, and between bytes after it."""

    connect: float = 5.0
    first_byte: float = 300.0
    between_bytes: float = 60.0


class Auth(Protocol):
    """Where a host's credentials come from."""

    async def headers(self) -> Mapping[str, str]: ...

    def renew(self, sent: Mapping[str, str]) -> bool:
        """Told that `sent` was refused; True where asking again may give something else."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class HeaderAuth:
    """A key that does not change."""

    name: str
    value: str

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
    """The clients of a process: one a host and event loop, each closed with its loop at the latest."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport | None = None,
        timeouts: Timeouts | None = None,
        backoff: float = 0.5,
    ) -> None:
        self.timeouts = timeouts or Timeouts()
        self.backoff = backoff
        self._transport = transport
        self._clients: WeakKeyDictionary[
            asyncio.AbstractEventLoop, dict[str, tuple[httpx.AsyncClient, AsyncGenerator[None, None]]]
        ] = WeakKeyDictionary()

    async def client(self, url: str) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        host = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        clients = self._clients.setdefault(loop, {})
        if host not in clients:
            client = self._connect(host)
            lifetime = self._lifetime(host, client)
            clients[host] = client, lifetime
            await anext(lifetime)
        return clients[host][0]

    def _connect(self, host: str) -> httpx.AsyncClient:
        limit = self.timeouts
        timeout = httpx.Timeout(max(limit.first_byte, limit.between_bytes), connect=limit.connect)
        transport = self._transport or _engine(host)
        return httpx.AsyncClient(transport=transport, timeout=timeout, headers={"accept-encoding": "identity"})

    async def _lifetime(self, host: str, client: httpx.AsyncClient) -> AsyncGenerator[None, None]:
        """Closes the client when it is closed, or when its event loop shuts its async generators down."""
        try:
            yield
        finally:
            self._clients.get(asyncio.get_running_loop(), {}).pop(host, None)
            await client.aclose()

    async def aclose(self) -> None:
        for _, lifetime in self._clients.pop(asyncio.get_running_loop(), {}).values():
            await lifetime.aclose()

    async def post_form(self, url: str, form: Mapping[str, str], user: str, password: str) -> Any:
        """The JSON answer to a form (OAuth token endpoints)."""
        client = await self.client(url)
        with TypedErrors("oauth"):
            response = await client.post(url, data=dict(form), auth=(user, password), timeout=30.0)
            if response.status_code >= 300:
                raise error_of(response.status_code, response.content, response.headers, "oauth")
            return parse(response.content, "oauth")

    async def get(self, url: str, auth: Auth, provider: str) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body."""
        client = await self.client(url)
        with TypedErrors(provider):
            response = await client.get(url, headers=dict(await auth.headers()), timeout=30.0)
            return response.status_code, response.headers, response.content

    @asynccontextmanager
    async def open(
        self, url: str, body: object, auth: Auth, provider: str, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[httpx.Response]:
        """POST `body` and give the response with its head read and its body not. Raises `ProviderError`."""
        content = _encoded(body)
        client = await self.client(url)
        fresh = True
        while True:
            credential = _sendable(await auth.headers(), provider)
            head = {"content-type": "application/json", **(headers or {}), **credential}
            with TypedErrors(provider, credential):
                request = client.build_request("POST", url, content=content, headers=head)
                response = await client.send(request, stream=True)
                try:
                    if response.status_code < 300:
                        yield response
                        return
                    words = _without(credential, (await response.aread()).decode("utf-8", "replace")).encode()
                    error = error_of(response.status_code, words, response.headers, provider)
                finally:
                    await response.aclose()
            if not (fresh and isinstance(error, AuthError) and auth.renew(credential)):
                raise error
            fresh = False

    async def payloads(self, response: httpx.Response, provider: str) -> AsyncGenerator[bytes, None]:
        """The data of each server-sent event; a JSON answer is one. `between_bytes` bounds each wait."""
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        with TypedErrors(provider):
            if kind.endswith("json"):
                yield await response.aread()
                return
            if kind == "text/html":
                raise BadResponse(
                    f"a web page came instead of an answer: {quote(await response.aread())}",
                    provider=provider,
                )
            # A response that a test's transport has made whole has no raw stream.
            body = response.aiter_bytes() if response.is_stream_consumed else response.aiter_raw()
            chunks = _bounded(body, self.timeouts, provider)
            async with aclosing(chunks), aclosing(events(chunks, provider)) as found:
                async for data in found:
                    yield data

    async def retrying(self, attempt: Callable[[], AsyncGenerator[T, None]], provider: str) -> AsyncGenerator[T, None]:
        """The events of `attempt()`, begun anew after a passing fault until the first event is there."""

        async def begin() -> tuple[AsyncGenerator[T, None], T | None]:
            stream = attempt()
            try:
                async with _first_byte(self.timeouts.first_byte, provider):
                    return stream, await anext(stream, None)
            except BaseException:
                await stream.aclose()
                raise

        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=self._wait,
            retry=tenacity.retry_if_exception(_passing),
            reraise=True,
        )
        begun: tuple[AsyncGenerator[T, None], T | None] = await retrying(begin)
        stream, first = begun
        async with aclosing(stream):
            if first is not None:
                yield first
            async for event in stream:
                yield event

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, ProviderError) and error.retry_after is not None:
            return error.retry_after
        return tenacity.wait_random_exponential(multiplier=self.backoff, max=8)(state)


def warm() -> None:
    """Imports the engine, which takes a tenth of a second, before the first call needs it."""
    with suppress(ImportError):
        import httpx_aiohttp  # noqa: F401


def _engine(host: str) -> httpx.AsyncBaseTransport:
    proxy = _proxy(host)
    try:
        from httpx_aiohttp import AiohttpTransport
    except ImportError:
        return httpx.AsyncHTTPTransport(_tls(), proxy=proxy, limits=httpx.Limits(max_connections=None))
    # 0 lifts aiohttp's limit; None would mean its default of 100.
    limits = httpx.Limits(max_connections=0)
    return AiohttpTransport(_tls(), proxy=httpx.Proxy(proxy) if proxy else None, limits=limits)


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
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        return clean(json.dumps(body, ensure_ascii=False)).encode()


def _sendable(headers: Mapping[str, str], provider: str) -> Mapping[str, str]:
    """The engines' own errors for these would show the credential."""
    if not all(value.isascii() and value.isprintable() for value in headers.values()):
        raise AuthError("the credential holds characters that no header can carry", provider=provider)
    return headers


def _without(credential: Mapping[str, str], text: str) -> str:
    """Some providers say a wrong key back. A short one is no secret but a word, as "none" is."""
    for value in credential.values():
        secret = value.rpartition(" ")[2]
        text = text.replace(secret, "[redacted]") if len(secret) > 5 else text
    return text


class TypedErrors:
    """Turns httpx's exceptions into `ProviderError`s. aiohttp's engine names causes coarsely (see `__cause__`), and
    lets some of aiohttp's own through. `credential` is kept out of their words."""

    def __init__(self, provider: str, credential: Mapping[str, str] | None = None) -> None:
        self.provider = provider
        self._credential = credential or {}

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        theirs = isinstance(error, httpx.HTTPError | httpx.InvalidURL | httpx.StreamError)
        if isinstance(error, Exception) and (theirs or type(error).__module__.startswith("aiohttp")):
            raise _network_error(error, self.provider) from error
        if isinstance(error, ProviderError):
            error.message = _without(self._credential, error.message)
            error.args = (error.message,)


def _network_error(error: Exception, provider: str) -> ProviderError:
    cause = error.__cause__ or error
    name = type(cause).__name__
    words = f"{name}: {quote(str(cause) or str(error))}" if str(cause) or str(error) else name
    if "Certificate" in name or "SSL" in name or "CERTIFICATE_VERIFY_FAILED" in str(cause):
        return ProviderDown(words, provider=provider, code="upstream_tls_error", retryable=False)
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return ProviderDown(words, provider=provider, retryable=False)
    if "Timeout" in name:
        return ProviderDown(words, provider=provider, code="upstream_timeout")
    if isinstance(error, httpx.ReadError | httpx.RemoteProtocolError):
        return BadResponse(f"the answer broke off: {words}", provider=provider, code="upstream_disconnected")
    return ProviderDown(words, provider=provider)


@asynccontextmanager
async def _first_byte(seconds: float, provider: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise ProviderDown(f"no answer within {seconds:g} s", provider=provider, code="upstream_timeout") from error


async def _bounded(chunks: AsyncIterator[bytes], limits: Timeouts, provider: str) -> AsyncGenerator[bytes, None]:
    """`chunks`, none of them waited for longer than `between_bytes` after the first."""
    wait = limits.first_byte
    while True:
        try:
            async with asyncio.timeout(wait):
                chunk = await anext(chunks, None)
        except TimeoutError as error:
            raise ProviderDown(f"silence for {wait:g} s", provider=provider, code="upstream_timeout") from error
        if chunk is None:
            return
        yield chunk
        wait = limits.between_bytes


async def events(chunks: AsyncIterator[bytes], provider: str = "") -> AsyncGenerator[bytes, None]:
    """The data of each server-sent event (WHATWG HTML 9.2), split as bytes so that only LF and CRLF end a line.

    `str.splitlines` would also split on U+2028 and U+0085 inside JSON. What is left when the bytes end counts
    as an event: a cut inside one then fails to parse.
    """
    buffer = bytearray()
    data: list[bytes] = []
    size = 0
    async for chunk in chunks:
        start = max(len(buffer) - 1, 0)
        buffer += chunk
        if size + len(buffer) > LONGEST_EVENT + len(chunk):
            raise BadResponse(
                "an event is too long", provider=provider, code="upstream_response_too_large", retryable=False
            )
        if buffer.find(b"\n", start) < 0:
            continue
        *lines, rest = bytes(buffer).split(b"\n")
        buffer = bytearray(rest)
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
                size += len(line)
            elif not line and data:
                yield b"\n".join(data)
                data.clear()
                size = 0
    if buffer.startswith(b"data:"):
        data.append(bytes(buffer[5:]).removesuffix(b"\r").removeprefix(b" "))
    if data:
        yield b"\n".join(data)


def _passing(error: BaseException) -> bool:
    if not (isinstance(error, ProviderError) and error.retryable):
        return False
    return error.retry_after is None or error.retry_after <= LONGEST_RETRY_AFTER
