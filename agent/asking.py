"""One call of the model, on a run's budget."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from agent import context
from agent.budget import Budget, OutOfTime
from agent.context import size, tokens
from messages import Done, FellBack, ProviderEvent, ReasoningDelta, Request, TextDelta, ToolCallDelta, Usage
from patience import Expired, Patience
from providers.base import Provider, ProviderError

CHARACTERS = 4
"""Of a token, about."""


async def asked(provider: Provider, request: Request, budget: Budget) -> AsyncGenerator[ProviderEvent, None]:
    """The model's events, as long as the budget has time. Raises `OutOfTime` and `ProviderError`.

    The budget takes the turn before the caller has its `Done`. Of one that was broken off, or whose tokens nobody
    tells, it is told an estimate. A call that failed before its answer began has used nothing.
    """
    written, is_open, model = 0, True, provider.info.id
    patience = Patience(budget.deadline)
    try:
        async with aclosing(provider.stream(request)) as events:
            while True:
                with patience:
                    event = await anext(events, None)
                if event is None:
                    break
                match event:
                    case FellBack():
                        model = event.model
                    case TextDelta() | ReasoningDelta():
                        written += len(event.text)
                    case ToolCallDelta():
                        written += len(event.arguments)
                    case Done():
                        is_open = not event.usage.total
                        budget.take_turn(event.usage, event.message.origin)
                yield event
    except Expired:
        raise OutOfTime from None
    except ProviderError as error:
        is_open = is_open and bool(written or error.begun)
        raise
    finally:
        patience.close()
        if is_open:
            heard, said = _read(request), -(-written // CHARACTERS)
            budget.guess(Usage(heard, said, total=heard + said), model)


def _read(request: Request) -> int:
    """Tokens that the model has been given, an estimate."""
    specs = sum(tokens(f"{spec.name} {spec.description} {spec.parameters}") for spec in request.tools)
    return int((size(request.messages) + specs) * context.CHARACTERS / CHARACTERS)
