"""What a provider is, what is known of a model, and the ways a call can fail.

ProviderError
├── AuthError          401, 403: the key, or what it may do
├── BadRequest         400, 413, 422: the request; sent again it fails again
│   ├── ContextOverflow    the conversation is longer than the window
│   └── ContentFiltered    the provider's filter refused it
├── NotFound           404: no such model or deployment
├── RateLimited        429, 402: too much, or no money left
├── Overloaded         503, 529: try later or elsewhere
├── ProviderDown       no connection, time-outs, other 5xx
└── BadResponse        an answer that breaks off or is not in the dialect
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal, Protocol

from messages import ProviderEvent, Request


class ProviderError(Exception):
    """A model call failed. `status` is the provider's HTTP status, 0 where there was none.

    `tries` is how often such a call may be made in all, `tried` how often it was. `begun`: it failed after its answer
    had begun. `callers`: it was the caller's own credential that was used.
    """

    code = "server_error"
    retryable = False
    tries = 3
    tried = 1
    begun = False
    callers = False

    def __init__(
        self,
        message: str,
        *,
        provider: str = "",
        status: int = 0,
        request_id: str = "",
        retry_after: float | None = None,
        code: str = "",
        param: str = "",
        retryable: bool | None = None,
        tries: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.provider = provider
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after
        self.code = code or type(self).code
        self.param = param
        if retryable is not None:
            self.retryable = retryable
        if tries is not None:
            self.tries = tries

    @property
    def root(self) -> ProviderError:
        """The error to tell, see `ContextOverflow`."""
        return self


class AuthError(ProviderError):
    code = "upstream_auth_error"


class BadRequest(ProviderError):
    code = "invalid_request"


class ContextOverflow(BadRequest):
    code = "context_length_exceeded"

    @property
    def root(self) -> ProviderError:
        """That of the first model, where another one stood in for it whose window is too small."""
        return self.__cause__ if isinstance(self.__cause__, ProviderError) else self


class ContentFiltered(BadRequest):
    code = "content_filter"


class NotFound(ProviderError):
    code = "model_not_found"


class RateLimited(ProviderError):
    code = "rate_limit_exceeded"
    retryable = True


class Overloaded(ProviderError):
    code = "overloaded"
    retryable = True


class ProviderDown(ProviderError):
    code = "upstream_unreachable"
    retryable = True


class BadResponse(ProviderError):
    code = "upstream_bad_response"
    retryable = True


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known of a model. `id` is `provider/model`; sizes are tokens, 0 where unknown.

    `json`: how an answer in JSON is had. "native": the provider holds its model to a schema; "asked": it is asked,
    and what comes is checked; "tool": it knows no such thing, so that a tool takes the answer.
    """

    id: str
    tools: bool = True
    window: int = 0
    max_output: int = 0
    note: str = ""
    json: Literal["native", "asked", "tool"] = "asked"

    @property
    def name(self) -> str:
        """The part after the provider: what the provider itself calls the model."""
        return self.id.partition("/")[2]


class Provider(Protocol):
    """One model behind one wire."""

    info: ModelInfo

    def stream(self, request: Request) -> AsyncGenerator[ProviderEvent, None]:
        """Deltas, then exactly one `Done`. Raises `ProviderError`; a stream that just ends is one."""
        ...

    async def aclose(self) -> None: ...
