"""Picking the skill that a request is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from skill_store import Skill, match


def make(name: str, description: str, hidden: bool = False) -> Skill:
    return Skill(name, description, Path("/x"), Path("/x/SKILL.md"), hidden=hidden)


THREE = [
    make(
        "cookie-flavor-generator",
        "Invents original cookie flavors with a name, ingredients and a short story.",
    ),
    make("market-research", "Writes a market research brief on a product or an industry, with size and trends."),
    make("skill-writer", "Writes new agent skills. Use when the user wants to create or improve a skill."),
]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("Invent a cookie flavour with lavender", "cookie-flavor-generator"),
        ("invent a COOKIE flavor", "cookie-flavor-generator"),
        ("new flavours for our bakery, please", "cookie-flavor-generator"),
        ("I need market research on e-bikes in Germany", "market-research"),
        ("How big is the industry for drones, and what are the trends?", "market-research"),
        ("Write a skill for filling in PDF forms", "skill-writer"),
        ("/skill-writer", "skill-writer"),
        ("lorem ipsum dolor " * 6000 + "\nNow write a market research brief", "market-research"),
    ],
)
def test_a_request_finds_its_skill(query: str, name: str) -> None:
    found = match(query, THREE)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    "query",
    [
        "hello",
        "thanks, now shorter",
        "What is the capital of France?",
        "Who are you?",
        "Write a poem about the sea",
        "What's 2+2?",
        "Wie geht es dir?",
        "¿Qué hora es?",
        "日本語で答えてください",
        "",
        " \n",
        "😀😀",
        '"',
        '* OR NEAR( AND NOT ^a {b} : c - "d',
        "'; DROP TABLE users; --",
        "\0\ud800",
        "a" * 100_000,
        "the of and " * 30_000,
    ],
    ids=lambda query: ascii(query[:20]),
)
def test_talk_and_odd_text_find_nothing(query: str) -> None:
    assert match(query, THREE) is None


def test_matching_leaves_out_hidden_skills_and_works_without_any() -> None:
    hidden = make("cookie-flavor-generator", "Invents cookie flavors.", hidden=True)
    assert match("Invent a cookie flavour", [hidden]) is None
    assert match("Invent a cookie flavour", []) is None


def test_a_name_counts_more_than_a_description() -> None:
    skills = [
        make("alpha", "All about invoices and letters."),
        make("invoices", "All about paper and letters."),
    ]
    found = match("invoices", skills)
    assert found is skills[1]


@pytest.mark.parametrize("others", [0, 3, 100])
def test_the_threshold_holds_for_any_number_of_skills(others: int) -> None:
    skills = [THREE[0], *(make(f"tool{n}x", f"Handles gadget{n}x for machines.") for n in range(others))]
    assert match("Invent a cookie flavour with lavender", skills) is THREE[0]
    assert match("What is the capital of France?", skills) is None
