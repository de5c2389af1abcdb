"""One upstream and one service for all clients, and a watch on what they call beside it."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.script import BREAKS, LIMITED, MODELS, SKILL, reply
from tests.surface import Service, service, write_skill
from tests.upstream import Upstream

_outside: list[str] = []
"""What was reached for beyond this machine. An audit hook stays for ever, so there is one list."""
_watched = False


@pytest.fixture(scope="session")
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.always(reply)
        yield upstream


@pytest.fixture(scope="session")
def served(up: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    skills = tmp_path_factory.mktemp("skills")
    write_skill(skills, SKILL, "Knows what things cost. Use for every question.")
    given: dict[str, Any] = {"anthropic_base_url": up.url, "anthropic_api_key": "sk-ant", "skills": (skills,)}
    given["aliases"] = (("gpt-*", "skill-agent"),)
    with service(up, allowed_models=(*MODELS[:-1], LIMITED, BREAKS), **given) as server:
        yield server


@pytest.fixture(autouse=True)
def _nothing_outside() -> Iterator[None]:
    """No client calls home from this process; those in processes of their own are told not to, by their settings."""
    global _watched
    if not _watched:
        sys.addaudithook(_watch)
        _watched = True
    _outside.clear()
    yield
    assert not _outside


def _watch(event: str, given: tuple[Any, ...]) -> None:
    if event == "socket.getaddrinfo":
        host = given[0]
    elif event == "socket.connect" and isinstance(given[1], tuple):
        host = given[1][0]
    else:
        return
    name = host.decode() if isinstance(host, bytes) else str(host or "localhost")
    if not _is_here(name):
        _outside.append(f"{event} {name}")


def _is_here(name: str) -> bool:
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
