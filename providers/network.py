"""What goes wrong below HTTP, in a person's words: the engines' exceptions as `ProviderError`s.

httpx and aiohttp are told apart by the names of their exceptions, so that neither has to be imported here.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator, Mapping

from providers.base import BadResponse, Overloaded, ProviderDown, ProviderError
from providers.errors import quote

CONNECTING = {"ConnectError", "ProxyError", "ClientConnectorError", "ClientHttpProxyError"}
CUT = {"ClientPayloadError", "PayloadEncodingError"}
MALFORMED = {"BadHttpMessage", "ClientResponseError"}
ADDRESS = {"UnsupportedProtocol", "InvalidURL", "NonHttpUrlClientError"}
DNS_TRIES = 2


class TypedErrors:
    """Turns the engines' exceptions into `ProviderError`s about `host`. `credential` is kept out of their words."""

    def __init__(self, provider: str, host: str = "", credential: Mapping[str, str] | None = None) -> None:
        self._provider = provider
        self._host = host or "of the provider"
        self._credential = credential or {}

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and type(error).__module__.partition(".")[0] in ("httpx", "aiohttp"):
            typed = network_error(error, self._provider, self._host)
            typed.message = without(self._credential, typed.message)
            typed.args = (typed.message,)
            raise typed from error
        if isinstance(error, ProviderError):
            error.message = without(self._credential, error.message)
            error.args = (error.message,)


def without(credential: Mapping[str, str], text: str) -> str:
    """Some providers say a wrong key back. A short one is no secret but a word, as "none" is."""
    for value in credential.values():
        secret = value.rpartition(" ")[2]
        text = text.replace(secret, "[redacted]") if len(secret) > 5 else text
    return text


def network_error(error: Exception, provider: str, host: str) -> ProviderError:
    chain = list(_chain(error))
    names = _names(chain)
    unreachable = f"the host {host} cannot be reached"
    if found := next((each for each in chain if isinstance(each, ssl.SSLError)), None):
        words = f"no secure connection to {host}: {_tls_words(chain, found)}"
        return ProviderDown(words, provider=provider, code="upstream_tls_error", retryable=False)
    if names & ADDRESS:
        return ProviderDown(f"no address: {quote(str(error))}", provider=provider, retryable=False)
    if "ClientConnectorDNSError" in names or any(isinstance(each, socket.gaierror) for each in chain):
        words = f"the host {host} cannot be found (its name does not resolve)"
        return ProviderDown(words, provider=provider, tries=DNS_TRIES)
    if "PoolTimeout" in names:
        return Overloaded(f"no connection to {host} is free", provider=provider, retry_after=1.0, tries=1)
    if names & {"ConnectTimeout", "ConnectionTimeoutError"}:
        return ProviderDown(f"{unreachable} (no connection in time)", provider=provider, code="upstream_timeout")
    if any("Timeout" in name for name in names):
        return ProviderDown(f"silence from {host}", provider=provider, code="upstream_timeout")
    if names & CONNECTING:
        return ProviderDown(f"{unreachable} ({_reason(chain)})", provider=provider)
    cut = "the connection was lost" if names & CUT else ""  # of which aiohttp speaks as of a malformed body
    malformed = names & MALFORMED and not cut
    words = "the answer is not HTTP" if malformed else f"the answer broke off ({cut or _reason(chain)})"
    return BadResponse(words, provider=provider, code="upstream_disconnected")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and what caused it: httpcore keeps that among the arguments, aiohttp in fields."""
    waiting = [error]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop(0)
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, getattr(each, "os_error", None), getattr(each, "certificate_error", None)]
        waiting += [*getattr(each, "exceptions", ()), *(arg for arg in each.args if isinstance(arg, BaseException))]


def _names(chain: list[BaseException]) -> set[str]:
    """Of the engine's own exceptions and their bases: httpx's names for aiohttp's are coarse, and in part wrong."""
    own = [each for each in chain if type(each).__module__.startswith("aiohttp")]
    return {kind.__name__ for each in own or chain for kind in type(each).__mro__}


def _reason(chain: list[BaseException]) -> str:
    """The system's own word, as in "connection refused"."""
    number = next((each.errno for each in chain if isinstance(each, OSError) and each.errno in errno.errorcode), None)
    if number is not None:
        return os.strerror(number).lower()
    return quote(next((str(each) for each in chain if str(each)), "")).lower() or type(chain[0]).__name__


def _tls_words(chain: list[BaseException], error: BaseException) -> str:
    doubts = (getattr(each, "verify_message", None) for each in chain)
    if doubt := next(filter(None, doubts), None):
        return f"its certificate is not trusted ({doubt})"
    reason = next((each.reason for each in chain if isinstance(each, ssl.SSLError) and each.reason), "")
    return reason.replace("_", " ").lower() or quote(str(error)) or type(error).__name__
