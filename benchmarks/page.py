"""The chat page in Chromium: its weight, how soon it can be used, and what a long streamed answer costs to draw.

python benchmarks/page.py [--llama-cpp index.html.gz] [--open-webui open_webui-….whl] [--rounds N]

A peer is a file that its project publishes: llama.cpp's page (tools/server/public/index.html.gz), which is given the
same stream, and Open WebUI's wheel, whose page is loaded without the server behind it: only its weight can be told.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import statistics
import sys
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from playwright.async_api import Browser, CDPSession, Page  # noqa: E402

from server import create_app  # noqa: E402
from settings import Settings  # noqa: E402
from tests.browser import chromium  # noqa: E402
from tests.servers import serve  # noqa: E402
from tests.upstream import Received, Reply, Upstream, json_reply, sse  # noqa: E402

PIECES = 2000
PIECE = 10
PAUSE = 0.002
READY = """new MutationObserver((_, watching) => {
    if (!document.querySelector("textarea")) return;
    watching.disconnect();
    requestAnimationFrame(() => setTimeout(() => { window.usable = performance.now(); }));
}).observe(document, {childList: true, subtree: true})"""
USABLE = """new Promise((told) => {
    const begun = performance.now();
    const over = () => window.usable || performance.now() - begun > 5000;
    const look = () => (over() ? told(window.usable ?? 0) : setTimeout(look, 50));
    look();
})"""
PARAGRAPH = """## Part {n}

Some **bold** words, a [link](https://example.com/{n}) and `code` stand in a paragraph of ordinary length, so that a
renderer has something to do; then comes a list.

- first, with *emphasis*
- second, with a number: {n}

```python
def part_{n}(value: int) -> int:
    return value * {n}
```

| item | price |
|---|---:|
| tea | {n} |
| milk | 2 |

"""


@dataclass(frozen=True, slots=True)
class Peer:
    name: str
    url: str
    streams: bool = True


def answer() -> list[str]:
    """20 KB of Markdown in 2,000 pieces."""
    text = "".join(PARAGRAPH.format(n=n) for n in range(1, 99))[: PIECES * PIECE]
    return [text[at : at + PIECE] for at in range(0, len(text), PIECE)]


def streamed(_: Received) -> Reply:
    base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    payloads: list[object] = []
    for piece in answer():
        payloads += [{**base, "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}, PAUSE]
    return sse([*payloads, {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}])


@contextmanager
def ours() -> Iterator[Peer]:
    with Upstream() as up:
        up.always(streamed)
        settings = Settings(model="openai/m", openai_base_url=f"{up.url}/v1", openai_api_key="sk-none")
        with serve(create_app(settings)) as url:
            yield Peer("ours", f"{url}/")


@contextmanager
def llama_cpp(page: Path) -> Iterator[Peer]:
    """The page with as much of a server as it asks for."""
    html = Reply(200, {"content-type": "text/html", "content-encoding": "gzip"}, [page.read_bytes()], "length")
    props = {"default_generation_settings": {"n_ctx": 4096, "params": {}}, "model_path": "m", "modalities": {}}
    with Upstream() as up:
        up.always(json_reply({}))
        up.route("/", html)
        up.route("/props", json_reply({**props, "total_slots": 1, "build_info": "b1", "chat_template": ""}))
        up.route("/slots", json_reply([]))
        up.route("/v1/models", json_reply({"object": "list", "data": [{"id": "m", "object": "model", "meta": {}}]}))
        up.route("/v1/chat/completions", streamed)
        yield Peer("llama.cpp", f"{up.url}/")


@contextmanager
def open_webui(wheel: Path) -> Iterator[Peer]:
    files = zipfile.ZipFile(wheel)
    kinds = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}

    def found(request: Received) -> Reply:
        name = f"open_webui/frontend{request.path.partition('?')[0]}"
        name += "index.html" if name.endswith("/") else ""
        try:
            data = files.read(name)
        except KeyError:
            return json_reply({"detail": "not found"}, 404)
        headers = {"content-type": kinds.get(Path(name).suffix, "application/octet-stream"), "content-encoding": "gzip"}
        return Reply(200, headers, [gzip.compress(data, 9)], "length")

    with Upstream() as up:
        up.always(found)
        yield Peer("Open WebUI", f"{up.url}/", streams=False)


@asynccontextmanager
async def opened(browser: Browser, peer: Peer) -> AsyncIterator[tuple[Page, CDPSession, list[float]]]:
    """A page of a visitor who has nothing in the cache, and the bytes of each of its responses."""
    context = await browser.new_context(viewport={"width": 1200, "height": 800})
    page = await context.new_page()
    session = await context.new_cdp_session(page)
    sizes: list[float] = []
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    await session.send("Network.enable")
    await session.send("Performance.enable")
    await page.add_init_script(READY)
    await page.goto(peer.url, wait_until="networkidle")
    yield page, session, sizes
    await context.close()


async def loading(browser: Browser, peer: Peer) -> tuple[float, float, float]:
    """KB, requests, milliseconds until there is somewhere to type (0 where there never is)."""
    async with opened(browser, peer) as (page, _, sizes):
        usable = await page.evaluate(USABLE)
        return sum(sizes) / 1000, len(sizes), usable


async def drawing(browser: Browser, peer: Peer) -> tuple[float, float, float]:
    """Milliseconds of scripts, of style and layout, and of all tasks while the answer comes."""
    async with opened(browser, peer) as (page, session, _):
        await page.locator("textarea").first.fill("Go")
        before = await metrics(session)
        await page.keyboard.press("Enter")
        words = answer()[-1].strip()[-8:]
        async with asyncio.timeout(120):
            while words not in (await page.locator("body").inner_text())[-2000:]:  # noqa: ASYNC110
                await asyncio.sleep(0.5)
        await page.wait_for_timeout(1000)
        after = await metrics(session)
    spent = {name: (after[name] - before[name]) * 1000 for name in after}
    return spent["ScriptDuration"], spent["LayoutDuration"] + spent["RecalcStyleDuration"], spent["TaskDuration"]


async def metrics(session: CDPSession) -> dict[str, float]:
    found: dict[str, Any] = await session.send("Performance.getMetrics")
    wanted = ("ScriptDuration", "LayoutDuration", "RecalcStyleDuration", "TaskDuration")
    return {each["name"]: each["value"] for each in found["metrics"] if each["name"] in wanted}


async def medians(
    measure: Callable[[Browser, Peer], Any], browser: Browser, peers: Sequence[Peer], rounds: int
) -> list[list[float]]:
    """In turn, A B A B."""
    found: list[list[tuple[float, ...]]] = [[] for _ in peers]
    for _ in range(rounds):
        for seen, peer in zip(found, peers, strict=True):
            seen.append(await measure(browser, peer))
    return [[statistics.median(column) for column in zip(*seen, strict=True)] for seen in found]


async def show(peers: Sequence[Peer], rounds: int) -> None:
    async with chromium() as browser:
        print("| page | KB over the wire | requests | usable after |\n| --- | --- | --- | --- |")
        for peer, (size, requests, usable) in zip(peers, await medians(loading, browser, peers, rounds), strict=True):
            print(
                f"| {peer.name} | {size:,.0f} | {requests:.0f} | {f'{usable:.0f} ms' if usable else '-'} |", flush=True
            )
        print(f"\n{len(answer()):,} pieces of {PIECE} characters\n")
        print("| page | scripts | style and layout | all tasks |\n| --- | --- | --- | --- |")
        streaming = [peer for peer in peers if peer.streams]
        for peer, spent in zip(streaming, await medians(drawing, browser, streaming, rounds), strict=True):
            print(f"| {peer.name} | {' | '.join(f'{ms:,.0f} ms' for ms in spent)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-cpp", type=Path, metavar="FILE")
    parser.add_argument("--open-webui", type=Path, metavar="FILE")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with ExitStack() as stack:
        peers = [stack.enter_context(ours())]
        if options.llama_cpp:
            peers.append(stack.enter_context(llama_cpp(options.llama_cpp)))
        if options.open_webui:
            peers.append(stack.enter_context(open_webui(options.open_webui)))
        asyncio.run(show(peers, options.rounds))


if __name__ == "__main__":
    main()
