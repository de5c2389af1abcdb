"""The plan of a run, as the model keeps it."""

from __future__ import annotations

from tools import Tool, ToolError

MOST = 50


class Todos:
    def __init__(self) -> None:
        self.items: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return "\n".join(self.items)

    def tool(self) -> Tool:
        def write_todos(todos: list[str]) -> str:
            """Plan work of several steps: replaces the list. Write "[ ] open", "[>] doing" or "[x] done" items."""
            if len(todos) > MOST:
                raise ToolError(f"{len(todos)} todos are too many: at most {MOST}, one line each")
            self.items = tuple(" ".join(item.split())[:300] for item in todos)
            done = sum(item.startswith("[x]") for item in self.items)
            return f"{done} of {len(self.items)} done."

        return Tool.of(write_todos)
