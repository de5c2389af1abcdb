"""The pages as they are served: headers, caching, a prefix, and other people's code as it was published."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from key_forms import ApiKey
from providers.scripted import ScriptedProvider
from server import create_app
from settings import Settings
from tests.servers import serve

WEB = Path(__file__).resolve().parents[1] / "web"
VENDORED = json.loads((WEB / "vendor/VENDORED.json").read_text("utf-8"))["files"]
PAGES = ["/", "/docs"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve(create_app(Settings(api_keys=(ApiKey("laptop", "0" * 64),)), ScriptedProvider([]))) as address:
        yield address


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    """One that packs nothing, so that sizes are those of the files."""
    with httpx.Client(base_url=url, trust_env=False, headers={"accept-encoding": "identity"}, verify=False) as found:
        yield found


def linked(page: str) -> list[str]:
    return re.findall(r'(?:src|href)="(web/[^"]+)"', page)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_needs_no_key_and_runs_no_code_but_its_own(client: httpx.Client, page: str) -> None:
    answer = client.get(page)
    assert answer.status_code == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy.pop("img-src") == "'self' data: blob:"
    assert policy.pop("trusted-types") == "dompurify" and policy.pop("require-trusted-types-for") == "'script'"
    assert {name for name, sources in policy.items() if sources == "'self'"} == {
        "script-src",
        "style-src",
        "connect-src",
    }
    assert {name for name, sources in policy.items() if sources == "'none'"} == {
        "default-src",
        "base-uri",
        "form-action",
        "frame-ancestors",
    }
    assert len(policy) == 7
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=|https?://", answer.text)


@pytest.mark.parametrize("page", PAGES)
def test_everything_that_a_page_names_is_there(client: httpx.Client, page: str) -> None:
    names = linked(client.get(page).text)
    assert len(names) >= 5
    for name in names:
        assert client.get(f"/{name}").status_code == 200


def test_every_module_that_is_imported_is_there() -> None:
    for module in WEB.glob("*.js"):
        for name in re.findall(r'(?:from|import) ?\(?"(\./[^"]+)"', module.read_text("utf-8")):
            assert (module.parent / name).is_file(), f"{module.name} imports {name}"


def test_the_page_names_its_modules_so_that_they_are_fetched_at_once() -> None:
    found, waiting = set[str](), ["app.js"]
    while waiting:
        name = waiting.pop()
        found.add(name)
        imported = re.findall(r'^import [^;]*?"\./([^"]+)"', (WEB / name).read_text("utf-8"), re.M | re.S)
        waiting += [module for module in imported if module not in found]
    preloaded = re.findall(r'"modulepreload" href="web/([^"]+)"', (WEB / "index.html").read_text("utf-8"))
    assert set(preloaded) == found - {"app.js"}


def test_files_are_kept_for_as_long_as_they_stay_what_they_are(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["cache-control"] == "no-cache"
    again = client.get("/", headers={"if-none-match": page.headers["etag"]})
    assert again.status_code == 304 and not again.content
    (app,) = [name for name in linked(page.text) if name.endswith("/app.js")]
    assert "immutable" in client.get(f"/{app}").headers["cache-control"]
    of_an_older_page = client.get("/web/000000000000/app.js")
    assert of_an_older_page.status_code == 200 and of_an_older_page.headers["cache-control"] == "no-cache"


def test_files_are_packed_for_who_can_unpack_them(client: httpx.Client) -> None:
    plain = client.get("/web/x/app.js")
    packed = client.get("/web/x/app.js", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in plain.headers and packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content and int(packed.headers["content-length"]) < len(plain.content) / 2


@pytest.mark.parametrize("path", ["nothing.js", "%2e%2e/server.py", "/etc/passwd", "..%2fsettings.py", ""])
def test_nothing_else_is_served(client: httpx.Client, path: str) -> None:
    answer = client.get(f"/web/x/{path}")
    assert answer.status_code in (401, 404) and set(answer.json()) == {"error"}


def test_the_api_behind_the_page_needs_its_key(client: httpx.Client) -> None:
    assert client.get("/v1/models").status_code == 401 and client.get("/web").status_code == 401


class Prefixed:
    """The app behind a proxy that takes a prefix off the path, as Databricks' and Jupyter's do."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self.app = app
        self.prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            assert scope["path"].startswith(self.prefix)
            scope = {**scope, "path": scope["path"].removeprefix(self.prefix), "raw_path": None}
        await self.app(scope, receive, send)


def test_every_address_is_relative() -> None:
    app = Prefixed(create_app(Settings(), ScriptedProvider([])), "/some/prefix")
    with serve(app) as url, httpx.Client(base_url=f"{url}/some/prefix/", trust_env=False, verify=False) as client:
        page = client.get("")
        assert page.status_code == 200 and not re.search(r'(?:src|href)="/', page.text)
        assert {client.get(name).status_code for name in linked(page.text)} == {200}


def test_other_peoples_code_is_as_it_was_published() -> None:
    named = {entry["file"] for entry in VENDORED}
    there = {path.relative_to(WEB / "vendor").as_posix() for path in (WEB / "vendor").rglob("*.js")}
    assert named == there
    for entry in VENDORED:
        assert hashlib.sha256((WEB / "vendor" / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
        assert entry["version"] in entry["source"] and entry["licence"]
        assert all((WEB / "vendor" / text).stat().st_size > 500 for text in entry["licence_texts"])


def test_the_page_is_light() -> None:
    """What is loaded before anything was asked: highlight.js comes with the first code in an answer."""
    later = {"docs.js", "schema.js", "try.js", "docs.css", "docs.html", "vendor/highlight.core.min.js"}
    files = [path for path in WEB.rglob("*") if path.suffix in (".js", ".css", ".html", ".svg")]
    first = [
        path for path in files if path.parent.name != "languages" and path.relative_to(WEB).as_posix() not in later
    ]
    weight = sum(len(gzip.compress(path.read_bytes(), 9)) for path in first)
    vendored = sum(
        len(gzip.compress(p.read_bytes(), 9)) for p in files if "vendor" in p.parts and "languages" not in p.parts
    )
    assert weight < 85_000 and vendored < 50_000


def test_our_modules_are_short_and_have_no_code_in_strings() -> None:
    for path in WEB.glob("*.js"):
        text = path.read_text("utf-8")
        assert len(text.splitlines()) < 400, path.name
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|crypto\.randomUUID|\beval\(|new Function|style=",
            text,
        )
