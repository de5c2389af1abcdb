"""Headless Chromium for the tests of the pages, the service behind them, and what must never happen in them."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from playwright.async_api import Browser, ConsoleMessage, Dialog, Page, Request, async_playwright, expect

from tests.upstream import Answer, Received, Reply, chat_chunks, sse

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
AXE = ROOT / ".venv/node/node_modules/axe-core/axe.min.js"
expect.set_options(timeout=15_000)
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="there is no chromium here (apt-get install chromium)")
needs_axe = pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not there (npm)")
POLICY = (
    "document.addEventListener('securitypolicyviolation', e => console.error('CSP', e.violatedDirective, e.blockedURI))"
)
Script: TypeAlias = Mapping[str, list[Answer]]
"""By the first word of the question: what the model says, one for each of its turns."""


def say(text: str, **how: Any) -> Reply:
    return sse(chat_chunks(text, **how))


def use(name: str, arguments: str, id: str = "call_1", **how: Any) -> Reply:
    return sse(chat_chunks(tool_calls=[(id, name, arguments)], **how))


def player(script: Script) -> Callable[[Received], Reply]:
    """An upstream that answers what is asked, whichever page asks it. Unknown words are said back."""

    def answer(request: Received) -> Reply:
        messages = request.json["messages"]
        last = max(at for at, message in enumerate(messages) if message["role"] == "user")
        word, _, rest = text_of(messages[last]).strip().partition(" ")
        turns = script.get(word)
        if turns is None:
            return say(f"You said: {word} {rest}")
        found = turns[min(sum(message["role"] == "assistant" for message in messages[last:]), len(turns) - 1)]
        return found if isinstance(found, Reply) else found(request)

    return answer


def text_of(message: Mapping[str, Any]) -> str:
    """The last line of what was said; what is attached stands before it."""
    content = message["content"]
    return str(content if isinstance(content, str) else content[-1].get("text", "")).rpartition("\n")[2]


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


@asynccontextmanager
async def visit(browser: Browser, url: str, path: str = "", **context: Any) -> AsyncIterator[Page]:
    """A page of a visitor of its own. Whatever it shows: no dialog, no error, no request elsewhere, no breach."""
    visitor = await browser.new_context(**{"viewport": {"width": 1100, "height": 800}, **context})
    visitor.set_default_timeout(15_000)
    page = await visitor.new_page()
    faults = watched(page, url)
    await page.add_init_script(POLICY)
    await page.goto(f"{url}/{path}")
    yield page
    await visitor.close()
    assert not faults


def watched(page: Page, url: str) -> list[str]:
    faults: list[str] = []

    async def dialog(shown: Dialog) -> None:
        faults.append(f"dialog: {shown.message}")
        await shown.dismiss()

    def asked(request: Request) -> None:
        if not request.url.startswith((f"{url}/", "blob:", "data:")):
            faults.append(f"request: {request.url}")

    def told(message: ConsoleMessage) -> None:
        if message.type == "error" and any(word in message.text for word in ("CSP", "Content Security", "Trusted")):
            faults.append(f"policy: {message.text}")

    page.on("dialog", dialog)
    page.on("request", asked)
    page.on("console", told)
    page.on("pageerror", lambda error: faults.append(f"error: {error}"))
    return faults


async def ask(page: Page, text: str, answered: bool = True) -> None:
    before = await page.locator(".answer").count()
    await page.fill("#message", text)
    await page.press("#message", "Enter")
    await page.locator(".answer").nth(before).wait_for(state="attached")
    if answered:
        await over(page)


async def fresh(page: Page) -> None:
    """Begins a conversation."""
    await page.keyboard.press("Control+Shift+O")
    await page.locator(".welcome").wait_for()


async def over(page: Page) -> None:
    """Waits until nothing is being answered any more."""
    await page.locator('main.thread[aria-busy="false"]').wait_for()


async def is_wide(page: Page) -> bool:
    """Whether anything reaches beyond the window."""
    return bool(await page.evaluate("document.scrollingElement.scrollWidth > innerWidth"))
