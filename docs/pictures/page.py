"""Pictures of the pages, from the real service with a scripted model: python docs/pictures/page.py"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from playwright.async_api import Browser, Page  # noqa: E402

from messages import Part, Reasoning, Usage  # noqa: E402
from providers.base import ModelInfo  # noqa: E402
from providers.scripted import Line, Play, ScriptedProvider, call  # noqa: E402
from server import create_app  # noqa: E402
from settings import Settings  # noqa: E402
from tests.browser import chromium, over  # noqa: E402
from tests.servers import serve  # noqa: E402

SIZES = {"wide": (1280, 800), "tablet": (768, 900), "phone": (320, 640)}
QUESTION = "Invent a cookie flavour with lavender, and scale it to 40 cookies"
THOUGHT = "A cookie with lavender: the cookie skill is made for that. Its pairings say what lavender goes with."
ANSWER = """**Dusk in Provence**
A crisp shortbread with lavender and honey, for 40 cookies.

| Ingredient | Grams | Share |
|---|---:|---:|
| Flour | 400 | 48 % |
| Butter | 265 | 32 % |
| Sugar and honey | 165 | 20 % |

- **Mixed in:** two tablespoons of dried lavender
- **On top:** a thin lemon glaze
- **Allergens:** wheat, milk

The same in Python, for any number:

```python
def scaled(grams: dict[str, float], cookies: int) -> dict[str, float]:
    # the recipe is for 24
    return {name: weight * cookies / 24 for name, weight in grams.items()}
```

The recipe is in `dusk-in-provence.md`.
"""


def lines() -> Iterator[Line]:
    """One answer, over and over."""
    while True:
        thinking: list[Part | str | float] = [
            Reasoning(THOUGHT),
            0.8,
            call("activate_skill", name="cookie-flavor-generator"),
        ]
        yield Play(thinking, usage=Usage(1129, 64, total=1193))
        reading = call("read_skill_file", skill="cookie-flavor-generator", path="references/flavor-pairings.md")
        yield Play([0.5, reading], usage=Usage(1904, 48, total=1952))
        yield Play(
            [0.5, call("write_file", path="dusk-in-provence.md", content=ANSWER)], usage=Usage(2630, 310, total=2940)
        )
        yield Play([0.3, ANSWER], usage=Usage(2980, 286, total=3266))


async def take(page: Page, name: str) -> None:
    await page.wait_for_timeout(400)
    await page.screenshot(path=HERE / f"{name}.png")


async def chat(browser: Browser, url: str, size: str, scheme: str) -> None:
    width, height = SIZES[size]
    context = await browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
    page = await context.new_page()
    await page.goto(url)
    await page.locator(".examples button").first.wait_for()
    await take(page, f"empty-{size}-{scheme}")
    await page.fill("#message", QUESTION)
    await page.keyboard.press("Enter")
    await over(page)
    if size != "phone":
        await page.locator(".work > summary").click()
    await page.mouse.move(width / 2, height - 60)
    await page.locator(".thread").evaluate("thread => thread.scrollTop = 0")
    await take(page, f"chat-{size}-{scheme}")
    await context.close()


async def docs(browser: Browser, url: str, size: str, scheme: str) -> None:
    width, height = SIZES[size]
    context = await browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
    page = await context.new_page()
    await page.goto(f"{url}/docs")
    await page.locator(".operation").first.wait_for()
    await take(page, f"docs-{size}-{scheme}")
    await context.close()


async def main() -> None:
    provider = ScriptedProvider(lines(), ModelInfo("anthropic/claude-sonnet-4-5"))
    with serve(create_app(Settings(), provider)) as url:
        async with chromium() as browser:
            for size, scheme in [
                ("wide", "light"),
                ("wide", "dark"),
                ("tablet", "light"),
                ("phone", "light"),
                ("phone", "dark"),
            ]:
                await chat(browser, url, size, scheme)
            await docs(browser, url, "wide", "light")
            await docs(browser, url, "phone", "dark")


if __name__ == "__main__":
    asyncio.run(main())
