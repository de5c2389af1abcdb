"""What an earlier process has left of a run: what it said and did, and how it is gone on with.

No tool is run twice, but for those that only read: of a call without a result the model is told that nobody knows.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from agent.approval import PREFIX
from agent.run import Reason
from messages import Event, Finish, Message, Refusal, Stop, Text, TextDelta, ToolResult, Turn, Usage
from tools import failed

UNKNOWN = "the service was restarted while this ran; whether it did its work is not known"


@dataclass(frozen=True, slots=True)
class Resumption:
    """`said` are whole turns, in which each call has a result or waits to be made. `usage` is theirs, and `stop` is why
    the last of them ended.
    """

    said: Sequence[Message]
    usage: Usage
    stop: Stop = "stop"

    @classmethod
    def of(
        cls, said: Sequence[Message], usage: Usage, repeatable: Collection[str], held: bool, stop: Stop = "stop"
    ) -> Resumption:
        """With what became of the last turn's calls: those of `repeatable` tools may be made again, if the run goes on.
        Of an answer that was `held` back nobody has heard, so it is asked for again.
        """
        last = _last_turn(said)
        cut = stop in ("length", "content_filter")
        if last and (not last[0].calls or (cut and held)):
            kept = stop == "pause" or (_says_something(last[0]) and not held)
            return cls(said, usage, stop) if kept else cls(said[: -len(last)], usage, "pause")
        ends = cut or any(not call.own for message in last for call in message.calls)
        known = {result.call_id for message in last for result in message.results}
        lost = [call for message in last for call in message.calls if call.own and call.id not in known]
        results = tuple(failed(call, UNKNOWN) for call in lost if ends or call.name not in repeatable)
        return cls([*said, Message("tool", results)] if results else said, usage, stop)

    @property
    def end(self) -> Finish | None:
        """Where the last turn was the answer or was cut, or has called tools of the client's: there is nothing to ask
        the model for.
        """
        last = _last_turn(self.said)
        if not last or self.stop == "pause" or any(message.role != "tool" for message in last[1:]):
            return None
        calls = tuple(call for call in last[0].calls if not call.own)
        reason: Reason = "tool_calls" if calls else "stop"
        if self.stop in ("length", "content_filter"):
            reason = self.stop
        elif last[0].calls and not calls:
            return None
        return Finish(reason, self._text, tuple(self.said), self.usage, (), calls, model=last[0].origin)

    @property
    def told(self) -> list[Message]:
        """For the run that goes on: with a yes to the calls that may be made again."""
        last = _last_turn(self.said)
        known = {result.call_id for message in last for result in message.results}
        again = [call.id for message in last for call in message.calls if call.own and call.id not in known]
        yes = tuple(ToolResult(PREFIX + id, (Text("yes"),)) for id in again)
        return [*self.said, *([Message("tool", yes)] if yes else [])]

    @property
    def _text(self) -> str:
        return "\n\n".join(message.text for message in self.said if message.role == "assistant" and message.text)

    async def joined(self, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        """The events of the run that goes on, as of one run with what was before."""
        before = self._text
        async with aclosing(events):
            async for event in events:
                match event:
                    case Turn(messages=said) if said:
                        event = replace(event, messages=(*self.said, *said))
                    case TextDelta() if before and not before.endswith("\n"):
                        yield TextDelta("\n\n")
                        before = ""
                    case Finish():
                        event = self._joined_end(event)
                yield event

    def _joined_end(self, finish: Finish) -> Finish:
        text = "\n\n".join(text for text in (self._text, finish.text) if text)
        return replace(finish, text=text, messages=(*self.said, *finish.messages), usage=self.usage + finish.usage)


def _says_something(message: Message) -> bool:
    return any(isinstance(part, Refusal) or (isinstance(part, Text) and part.text.strip()) for part in message.parts)


def _last_turn(said: Sequence[Message]) -> Sequence[Message]:
    """The newest message of the model's, and what is behind it; nothing where the model has said nothing."""
    at = next((at for at in range(len(said) - 1, -1, -1) if said[at].role == "assistant"), -1)
    return said[at:] if at >= 0 else ()
