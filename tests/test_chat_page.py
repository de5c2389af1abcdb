"""The chat page in a browser, over the whole service and a scripted provider."""

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
import zlib
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
import pytest_asyncio
from playwright.async_api import Browser, FilePayload, Page, Route, expect

from key_forms import ApiKey
from server import create_app
from settings import Settings
from tests.browser import ROOT, ask, chromium, fresh, is_wide, needs_chromium, over, player, say, text_of, use, visit
from tests.servers import serve
from tests.upstream import Answer, Upstream, chat_chunks, sse

pytestmark = [pytest.mark.asyncio(loop_scope="module"), needs_chromium]
KEY = "sk-agent-a-good-key"
large = pytest.mark.filterwarnings("ignore:Sending a large body")
"""aiohttp's word about bodies over 1 MiB."""
SCRIPT = """import sys
open("report.csv", "w").write("a,b\\n1,2\\n")
print("made a report")
"""
ENDLESS = sse([*chat_chunks("It begins", finish="", usage=None), 60.0])
ANSWERS: dict[str, list[Answer]] = {
    "skill": [
        use("activate_skill", '{"name": "reports"}', reasoning="A report is wanted."),
        use("run_skill_script", '{"skill": "reports", "script": "scripts/report.py"}', "call_2"),
        say("# The report\n\nIt is **ready**:\n\n```python\nprint(1)\n```\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n"),
    ],
    "endless": [ENDLESS],
    "delete": [use("write_file", '{"path": "note.txt", "content": "hello"}'), say("It is done.")],
    "twice": [lambda request: say(f"Answer {len(request.body)}")],
    "broken": [sse(chat_chunks("Half of it", finish="", usage=None), done=False).but(cut="rst")],
}


class Rig:
    """One browser, and the service twice: open to this machine; with a key, and with tools that need a yes."""

    def __init__(self, browser: Browser, up: Upstream, url: str, keyed: str) -> None:
        self.browser = browser
        self.up = up
        self.url = url
        self.keyed = keyed


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    skill = tmp_path_factory.mktemp("skills") / "reports"
    (skill / "scripts").mkdir(parents=True)
    (skill / "SKILL.md").write_text("---\nname: reports\ndescription: Makes reports.\n---\nRun it.\n", "utf-8")
    (skill / "scripts/report.py").write_text(SCRIPT, "utf-8")
    with Upstream() as up:
        up.always(player(ANSWERS))
        how = {"model": "openai/test-model", "openai_base_url": f"{up.url}/v1", "openai_api_key": "sk-the-right-key"}
        skills = (skill.parent, ROOT / "skills")
        keys = (ApiKey("laptop", hashlib.sha256(KEY.encode()).hexdigest()),)
        with (
            serve(create_app(Settings(skills=skills, **how))) as url,  # type: ignore[arg-type]
            serve(create_app(Settings(skills=(), api_keys=keys, ask=("write_file",), **how))) as keyed,  # type: ignore[arg-type]
        ):
            async with chromium() as browser:
                yield Rig(browser, up, url, keyed)


async def test_an_empty_page_says_what_there_is(rig: Rig) -> None:
    async with visit(rig.browser, rig.url) as page:
        await expect(page.locator(".skills dt")).to_have_text(
            ["cookie-flavor-generator", "market-research", "reports", "skill-writer"]
        )
        examples = page.locator(".examples button")
        await expect(examples).to_have_count(3)
        await examples.first.click()
        await expect(page.locator("#message")).to_have_value("Invent a cookie flavour with lavender")


async def test_an_answer_comes_with_its_skill_and_what_it_made(rig: Rig) -> None:
    async with visit(rig.browser, rig.url) as page:
        await ask(page, "skill please")
        await expect(page.locator(".markdown h1")).to_have_text("The report")
        await expect(page.locator(".markdown td[align=right]")).to_have_text("2")
        await expect(page.locator(".code .hljs-built_in")).to_have_text("print")
        work = page.locator(".work > summary")
        await expect(work).to_contain_text("2 tools")
        await expect(page.locator(".card")).to_have_count(0)
        await work.click()
        card = page.locator(".card")
        await expect(card.locator("strong")).to_have_text("reports")
        await expect(card.locator("> .faint")).to_have_text("Makes reports.")
        await expect(card.locator(".tool summary")).to_contain_text("Ran scripts/report.pyexit 0")
        await expect(page.locator(".thought")).to_contain_text("A report is wanted.")
        async with page.expect_download() as download:
            await card.get_by_role("button", name="Download report.csv").click()
        path = await (await download.value).path()
        assert path.read_text("utf-8") == "a,b\n1,2\n"
        await expect(page.locator(".figures")).to_contain_text("30 tokens in, 15 out")


async def test_stop_reaches_the_provider_and_keeps_what_was_said(rig: Rig) -> None:
    async with visit(rig.browser, rig.url) as page:
        await ask(page, "endless please", answered=False)
        await expect(page.locator(".markdown")).to_contain_text("It begins")
        left = rig.up.abandoned
        await page.keyboard.press("Escape")
        await expect(page.locator(".state")).to_have_text("Stopped.")
        assert await asyncio.to_thread(rig.up.wait_closed) and rig.up.abandoned == left + 1
        await expect(page.locator(".markdown")).to_contain_text("It begins")
        await ask(page, "and then?")
        said = [(m["role"], text_of(m)) for m in rig.up.requests[-1].json["messages"] if m["role"] != "system"]
        assert said[1] == ("assistant", "It begins") and said[2] == ("user", "and then?")


async def test_retry_and_edit_ask_again(rig: Rig) -> None:
    async with visit(rig.browser, rig.url) as page:
        await ask(page, "twice please")
        first = await page.locator(".markdown").inner_text()
        await page.get_by_role("button", name="Answer again").click()
        await over(page)
        await expect(page.locator(".answer")).to_have_count(1)
        await expect(page.locator(".markdown")).to_have_text(first)
        await ask(page, "one more")
        await page.locator(".question").first.hover()
        await page.get_by_role("button", name="Edit and send again").first.click()
        await page.get_by_role("textbox", name="Edit the question").fill("hello there")
        await page.keyboard.press("Enter")
        await expect(page.locator(".markdown")).to_have_text(["You said: hello there"])
        assert [m["role"] for m in rig.up.requests[-1].json["messages"]] == ["system", "user"]


def png(width: int, height: int) -> bytes:
    """Stripes."""
    rows = b"".join(b"\0" + bytes((x + y) % 256 for x in range(width * 3)) for y in range(height))
    return png_of(width, height, rows)


def png_of(width: int, height: int, rows: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


async def test_a_large_picture_is_made_smaller_and_sent(rig: Rig) -> None:
    async with visit(rig.browser, rig.url) as page:
        files = page.locator(".composer input[type=file]")
        await files.set_input_files({"name": "big.png", "mimeType": "image/png", "buffer": png(2000, 600)})
        await expect(page.locator(".composer .chip")).to_contain_text("big.png")
        await ask(page, "look at this")
        content = rig.up.requests[-1].json["messages"][-1]["content"]
        url = next(part["image_url"]["url"] for part in content if part["type"] == "image_url")
        kind, _, data = url.partition(",")
        bytes_ = b64decode(data)
        assert kind == "data:image/png;base64" and struct.unpack(">II", bytes_[16:24]) == (1568, 470)
        await page.reload()
        await expect(page.locator(".question img.picture")).to_be_visible()


def noise(name: str, width: int = 690) -> FilePayload:
    """A picture that no compression makes smaller: three bytes a pixel."""
    draw = Random(name)
    rows = b"".join(b"\0" + draw.randbytes(width * 3) for _ in range(width))
    return {"name": name, "mimeType": "image/png", "buffer": png_of(width, width, rows)}


@large
async def test_a_conversation_that_grows_too_large_leaves_its_oldest_files_out(rig: Rig) -> None:
    """Three pictures of 1.4 MB are more than the 4 MiB of a body, in base64."""
    async with visit(rig.browser, rig.url) as page:
        files = page.locator(".composer input[type=file]")
        for at in range(3):
            await files.set_input_files(noise(f"{at}.png"))
            await expect(page.locator(".composer .chip")).to_have_count(1)
            await ask(page, f"look at {at}")
            await expect(page.locator(".markdown").last).to_have_text(f"You said: look at {at}")
        await expect(page.locator(".answer .state")).to_have_text(
            ["Left out, as the conversation has grown too large to send: 0.png."]
        )
        sent = [m["content"] for m in rig.up.requests[-1].json["messages"] if m["role"] == "user"]
        assert "0.png was attached, and is left out" in sent[0] and sent[0].endswith("look at 0")
        kinds = [[part["type"] for part in content] for content in sent[1:]]
        assert kinds == [["image_url", "text"], ["image_url", "text"]]


async def test_files_that_do_not_fit_into_a_request_are_refused_with_the_limit(rig: Rig) -> None:
    paper: FilePayload = {"name": "a.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7" + bytes(3 * 2**20)}
    async with visit(rig.browser, rig.url) as page:
        await page.fill("#message", "still here")
        await expect(page.get_by_title("2.8 MB with a message")).to_be_visible()
        files = page.locator(".composer input[type=file]")
        await files.set_input_files([paper, *(noise(f"{at}.png") for at in range(3))])
        await expect(page.locator(".troubles li")).to_have_text(
            [
                "a.pdf is too large: 3.0 MB, where 2.8 MB can be attached.",
                "2.png does not fit beside the other files: the service takes 2.8 MB with a message.",
            ]
        )
        await expect(page.locator(".composer .chip")).to_have_count(2)
        await expect(page.locator("#message")).to_have_value("still here")


async def test_files_that_cannot_be_sent_are_told(rig: Rig, tmp_path: Path) -> None:
    vanishing = tmp_path / "gone.txt"
    vanishing.write_text("soon gone", "utf-8")
    bad: list[FilePayload] = [
        {"name": "a.zip", "mimeType": "application/zip", "buffer": b"PK\3\4\0\0\xff"},
        {"name": "empty.txt", "mimeType": "text/plain", "buffer": b""},
        {"name": "huge.txt", "mimeType": "text/plain", "buffer": b"x" * 2_000_000},
        {"name": "no.png", "mimeType": "image/png", "buffer": b"\x89PNG no"},
        {"name": "no.pdf", "mimeType": "application/pdf", "buffer": b"no"},
    ]
    async with visit(rig.browser, rig.url) as page:
        await page.fill("#message", "still here")
        files = page.locator(".composer input[type=file]")
        await files.set_input_files(bad)
        words = [" is not text", " is empty", " is too large", " cannot be shown", " is no PDF"]
        await expect(page.locator(".troubles li")).to_have_count(len(words))
        told = await page.locator(".troubles li").all_inner_texts()
        assert all(word in text for word, text in zip(words, told, strict=True))
        await page.evaluate(
            "document.body.append(Object.assign(document.createElement('input'), {type: 'file', id: 'held'}))"
        )
        await page.locator("#held").set_input_files(vanishing)
        vanishing.unlink()
        await page.evaluate(
            """() => {
                const data = new DataTransfer();
                data.items.add(document.querySelector("#held").files[0]);
                const drop = new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true});
                document.querySelector(".composer").dispatchEvent(drop);
            }"""
        )
        await expect(page.locator(".troubles li")).to_contain_text(["gone.txt cannot be read any more"])
        await expect(page.locator("#message")).to_have_value("still here")


async def test_texts_go_along_and_a_huge_paste_becomes_one(rig: Rig) -> None:
    async with visit(rig.browser, rig.url) as page:
        files = page.locator(".composer input[type=file]")
        await files.set_input_files({"name": "a.py", "mimeType": "text/x-python", "buffer": b"print('```')\n"})
        await expect(page.locator(".composer .chip")).to_have_count(1)
        await page.evaluate(
            """() => {
                const data = new DataTransfer();
                data.setData("text/plain", "long ".repeat(10000));
                const paste = new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true});
                document.querySelector("#message").dispatchEvent(paste);
            }"""
        )
        await expect(page.locator(".composer .chip")).to_have_count(2)
        async with page.expect_request("**/v1/chat/completions") as asked:
            await ask(page, "read them")
        first, second, last = json.loads((await asked.value).post_data or "")["messages"][-1]["content"]
        assert first["text"] == "a.py:\n````\nprint('```')\n\n````" and last["text"] == "read them"
        assert second["text"].startswith("pasted-2.txt:\n```\nlong long") and len(second["text"]) > 50_000


async def test_conversations_are_kept_found_renamed_moved_and_deleted(rig: Rig, tmp_path: Path) -> None:
    async with visit(rig.browser, rig.url) as page:
        await ask(page, "about lavender")
        await fresh(page)
        await ask(page, "about pears")
        await page.reload()
        await expect(page.locator(".bubble")).to_have_text("about pears")
        rows = page.locator(".row-title")
        await expect(rows).to_have_text(["about pears", "about lavender"])
        await page.keyboard.press("Control+k")
        await page.keyboard.type("LAVENDER said")
        await expect(rows).to_have_text(["about lavender"])
        await rows.first.click()
        await expect(page.locator(".bubble")).to_have_text("about lavender")
        await page.get_by_role("button", name="Rename about lavender").click()
        await page.get_by_label("Title").fill("Flowers")
        await page.keyboard.press("Enter")
        await page.fill("#search", "")
        await expect(rows).to_have_text(["about pears", "Flowers"])
        async with page.expect_download() as download:
            await page.get_by_role("button", name="Export conversations").click()
        kept = tmp_path / "kept.json"
        await (await download.value).save_as(kept)
        await page.get_by_role("button", name="Delete all conversations").click()
        await page.get_by_role("button", name="Delete", exact=True).click()
        await expect(rows).to_have_count(0)
        await page.locator(".sidebar input[type=file]").set_input_files(kept)
        await expect(rows).to_have_text(["about pears", "Flowers"])
        await rows.last.click()
        await expect(page.locator(".markdown")).to_have_text("You said: about lavender")


async def test_a_question_in_the_address_is_filled_in_and_not_sent(rig: Rig) -> None:
    async with visit(rig.browser, rig.url, "?q=What%20is%20tea%3F") as page:
        await expect(page.locator("#message")).to_have_value("What is tea?")
        await expect(page.locator(".question")).to_have_count(0)
        assert page.url == f"{rig.url}/"
        await page.reload()
        await expect(page.locator("#message")).to_have_value("What is tea?")


async def test_settings_go_with_the_request_and_the_menus_name_the_model(rig: Rig) -> None:
    async with visit(rig.browser, rig.url) as page:
        await page.get_by_label("Skill").select_option("reports")
        await page.keyboard.press("Control+,")
        await page.get_by_label("System prompt").fill("Be brief.")
        await page.get_by_label("Temperature").fill("0.5")
        await page.get_by_label("Reasoning effort").select_option("low")
        await page.get_by_role("button", name="Save").click()
        async with page.expect_request("**/v1/chat/completions") as asked:
            await ask(page, "hello")
        body = json.loads((await asked.value).post_data or "")
        assert (
            body["model"] == "skill-agent:reports" and body["temperature"] == 0.5 and body["reasoning_effort"] == "low"
        )
        assert body["messages"][0] == {"role": "system", "content": "Be brief."}
        await page.get_by_label("Model").select_option("openai/test-model")
        async with page.expect_request("**/v1/chat/completions") as asked:
            await ask(page, "hello")
        assert json.loads((await asked.value).post_data or "")["model"] == "openai/test-model"


async def give_key(page: Page, key: str) -> None:
    """Before the dialog is gone, what is typed goes to it."""
    title = await page.locator("#dialog-title").inner_text()
    await page.get_by_role("dialog").get_by_label("Key").fill(key)
    await page.keyboard.press("Enter")
    await expect(page.locator("#dialog-title", has_text=title)).to_have_count(0)


async def test_a_key_is_asked_for_and_what_was_written_is_sent_with_it(rig: Rig) -> None:
    async with visit(rig.browser, rig.keyed) as page:
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("This service needs a key")
        await page.get_by_role("button", name="Later").click()
        await ask(page, "hello")
        await give_key(page, "sk-agent-wrong")
        await expect(dialog).to_contain_text("not valid")
        await page.get_by_role("button", name="Later").click()
        await page.get_by_role("button", name="Enter the key").click()
        await give_key(page, KEY)
        await expect(page.locator(".markdown")).to_have_text("You said: hello")
        assert await page.evaluate("Object.values(localStorage).join().includes('sk-agent')") is False


async def test_a_tool_that_needs_a_yes_is_asked_about(rig: Rig) -> None:
    async with visit(rig.browser, rig.keyed) as page:
        await give_key(page, KEY)
        dialog = page.get_by_role("dialog")
        for button, files in (("No", 0), ("Allow once", 1)):
            await ask(page, "delete it", answered=False)
            await expect(dialog).to_contain_text("write_file")
            await expect(dialog.locator("pre")).to_contain_text('"path": "note.txt"')
            await dialog.get_by_role("button", name=button, exact=True).click()
            await expect(page.locator(".markdown").last).to_have_text("It is done.")
            await over(page)
            await expect(page.locator(".files .chip")).to_have_count(files)
        await ask(page, "go on")
        await expect(page.locator(".markdown").last).to_have_text("You said: go on")


async def failing(page: Page, **how: object) -> None:
    """Answers the next questions in the service's place, as a proxy before it may."""

    async def answer(route: Route) -> None:
        await (route.abort() if "abort" in how else route.fulfill(**how))  # type: ignore[arg-type]

    await page.route("**/v1/chat/completions", answer)


CHUNK = 'data: {"choices":[{"index":0,"delta":{"content":"Half of it"},"finish_reason":null}]}\r\n\r\n'
STREAM = {"content-type": "text/event-stream"}


STOPPING = '{"message":"ask again","code":"server_shutting_down"}'
FAULTS: list[tuple[dict[str, object], str]] = [
    ({"body": CHUNK, "headers": STREAM}, "The answer broke off"),
    ({"body": CHUNK + "data: {nonsense\n\n", "headers": STREAM}, "what came cannot be read"),
    ({"status": 429, "headers": {"retry-after": "30"}, "body": "{}"}, "Try again in"),
    ({"status": 503, "body": '{"error":{"message":"It drains"}}'}, "It drains"),
    ({"status": 503, "body": f'{{"error":{STOPPING}}}'}, "The service is being stopped or restarted"),
    (
        {"body": CHUNK + f'data: {{"error":{STOPPING}}}\n\n', "headers": STREAM},
        "broke off. The service is being stopped",
    ),
    ({"status": 413, "body": '{"error":{"message":"4 MiB at most"}}'}, "4 MiB at most"),
    ({"status": 302, "headers": {"location": "https://login.example/"}}, "sign-in has run out"),
    ({"status": 200, "body": "<h1>Sign in</h1>", "headers": {"content-type": "text/html"}}, "Something other"),
    ({"abort": True}, "cannot be reached"),
]


async def test_what_went_wrong_is_said_and_nothing_is_lost(rig: Rig) -> None:
    async with visit(rig.browser, rig.url) as page:
        for how, words in FAULTS:
            await failing(page, **how)
            await fresh(page)
            await ask(page, "precious words")
            await expect(page.locator(".failure")).to_contain_text(words)
            await expect(page.locator(".markdown")).to_have_text(["Half of it"] if how.get("headers") is STREAM else [])
            await expect(page.locator(".bubble")).to_have_text("precious words")
            await page.unroute("**/v1/chat/completions")
        await page.reload()
        await expect(page.locator(".failure")).to_contain_text(FAULTS[-1][1])
        await page.get_by_role("button", name="Try again").click()
        await expect(page.locator(".markdown")).to_have_text("You said: precious words")
        await expect(page.locator(".row-title")).to_have_count(len(FAULTS))


async def test_where_the_service_says_when_one_can_try_again_then(rig: Rig) -> None:
    async with visit(rig.browser, rig.url) as page:
        await failing(page, status=429, headers={"retry-after": "1"}, body='{"error":{"message":"60 a minute"}}')
        await ask(page, "hello")
        await expect(page.locator(".failure")).to_contain_text("Too many requests60 a minute")
        await page.unroute("**/v1/chat/completions")
        await page.get_by_role("button", name="Try again", exact=True).click()
        await expect(page.locator(".markdown")).to_have_text("You said: hello")


async def test_another_model_that_answers_is_named(rig: Rig) -> None:
    step = '{"type":"fell_back","model":"openai/second","instead_of":"openai/first","reason":"it is busy"}'
    fell = f'data: {{"choices":[{{"index":0,"delta":{{}}}}],"skill_agent":{step}}}\n\n'
    async with visit(rig.browser, rig.url) as page:
        await failing(page, body=f"{fell}{CHUNK}data: [DONE]\n\n", headers=STREAM)
        await ask(page, "hello")
        words = "openai/second answers instead of openai/first (it is busy)"
        await expect(page.locator(".answer .state")).to_have_text(words)
        await expect(page.locator(".markdown")).to_have_text("Half of it")


READ = """async ([text, size]) => {
    const { dataOf } = await import(new URL("web/x/stream.js", document.baseURI));
    const bytes = new TextEncoder().encode(text);
    const body = new ReadableStream({
        start(stream) {
            for (let at = 0; at < bytes.length; at += size) stream.enqueue(bytes.slice(at, at + size));
            stream.close();
        },
    });
    const found = [];
    try {
        for await (const data of dataOf(body)) found.push(data);
    } catch (error) {
        found.push(error.kind);
    }
    return found;
}"""


async def test_events_are_read_however_they_are_cut_and_whatever_ends_their_lines(rig: Rig) -> None:
    lines = [
        ": hello",
        "",
        "event: x",
        "data: één",
        "data:🍪",
        "",
        "",
        "id: 1",
        "data: two",
        "",
        "data: [DONE]",
        "",
        "data: no",
        "",
    ]
    async with visit(rig.browser, rig.url) as page:
        for end in ("\n", "\r\n", "\r"):
            for size in (1, 2, 3, 7, 1000):
                text = end.join(lines) + end
                assert await page.evaluate(READ, [text, size]) == ["één\n🍪", "two"], (end, size)
        assert await page.evaluate(READ, ["data: half\n\ndata: lost", 5]) == ["half", "broken"]


async def test_an_upstream_that_dies_and_a_line_that_is_down_are_told(rig: Rig) -> None:
    async with visit(rig.browser, rig.url) as page:
        await ask(page, "broken please")
        await expect(page.locator(".failure")).to_contain_text("The answer broke off")
        await expect(page.locator(".markdown")).to_have_text("Half of it")
        await page.context.set_offline(True)
        await ask(page, "are you there?")
        await expect(page.locator(".failure").last).to_contain_text("You are offline")
        await page.context.set_offline(False)
        await page.get_by_role("button", name="Try again").click()
        await over(page)
        await expect(page.locator(".markdown").last).to_have_text("You said: are you there?")


async def test_the_page_works_by_keyboard_alone(rig: Rig) -> None:
    async with visit(rig.browser, rig.url) as page:
        await expect(page.locator("#message")).to_be_focused()
        await page.keyboard.type("first line")
        await page.keyboard.press("Shift+Enter")
        await page.keyboard.type("second line")
        await page.keyboard.press("Enter")
        await over(page)
        await expect(page.locator(".bubble")).to_have_text("first line\nsecond line")
        await page.keyboard.press("Control+/")
        await expect(page.get_by_role("dialog")).to_contain_text("New conversation")
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await expect(page.locator("#message")).to_be_focused()
        await page.keyboard.press("Control+b")
        await expect(page.locator(".sidebar")).to_have_count(0)
        await page.keyboard.press("Control+b")
        reached = []
        for _ in range(60):
            await page.keyboard.press("Tab")
            reached.append(
                await page.evaluate("document.activeElement.ariaLabel || document.activeElement.textContent")
            )
        assert {"Copy", "Answer again", "Settings", "Dark theme", "Delete all conversations"} <= set(reached)


async def test_answers_are_read_out_block_by_block(rig: Rig) -> None:
    async with visit(rig.browser, rig.url) as page:
        await ask(page, "skill please")
        voice = page.locator(".thread [role=log]")
        await expect(voice.locator("p")).to_have_text(
            ["The report", "It is ready:", "Code: print(1)", "Table: a, b; 1, 2"]
        )


async def test_nothing_reaches_beyond_a_small_window(rig: Rig) -> None:
    async with visit(rig.browser, rig.url, viewport={"width": 320, "height": 568}) as page:
        assert not await is_wide(page)
        await ask(page, "skill please")
        await page.locator(".work > summary").click()
        await ask(page, f"{'word' * 100} {'https://example.com/' * 20}")
        assert not await is_wide(page)
        await page.get_by_role("button", name="Show conversations").click()
        await expect(page.locator(".sidebar")).to_be_visible()
        assert not await is_wide(page)
        await page.keyboard.press("Escape")
        await expect(page.locator(".sidebar")).to_have_count(0)


async def test_it_is_dark_where_that_is_wanted(rig: Rig) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    async with visit(rig.browser, rig.url, color_scheme="dark") as page:
        dark = await page.evaluate(ground)
        await page.get_by_role("button", name="Light theme").click()
        light = await page.evaluate(ground)
        assert dark != light
        await page.reload()
        assert await page.evaluate(ground) == light
