"""Finding the skills that a query is about, among many."""

from __future__ import annotations

import gc
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from skill_store import Skill, SkillStore, catalog_text
from skill_store.find import find, found_text
from skill_store.index import KEPT, index_of
from tests.agents import write_skill


def make(name: str, description: str = "Does a thing.", hidden: bool = False) -> Skill:
    return Skill(name, description, Path("/x"), Path("/x/SKILL.md"), hidden=hidden)


def many(count: int, word: str = "gadget") -> list[Skill]:
    return [make(f"tool{n}x", f"Handles {word}{n}x for machines. Use when the user asks for it.") for n in range(count)]


OFFICE = [
    make("pdf-forms", "Fills in, merges and splits PDF forms and documents."),
    make("letters", "Writes letters and other documents. Use when the user wants a letter, also as a PDF."),
    make("flavor-generator", "Invents flavors of cookies with a name and a short story."),
    make("database-tuning", "Makes slow queries fast: indexes, plans, statistics."),
    make("todo-list", "Keeps track of open tasks."),
]


def names(query: str, skills: list[Skill] = OFFICE, most: int = 8) -> list[str]:
    return [skill.name for skill in find(query, skills, most)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("pdf", ["pdf-forms", "letters"]),
        ("write a letter", ["letters"]),
        ("filling PDF form", ["pdf-forms", "letters"]),
        ("new flavours, please", ["flavor-generator"]),
        ("optimise a slow query", ["database-tuning"]),
        ("DATABASE", ["database-tuning"]),
        ("list", ["todo-list"]),
        ("/pdf-forms", ["pdf-forms", "letters"]),
        ("lorem ipsum dolor " * 6000 + "\nslow queries", ["database-tuning"]),
    ],
)
@pytest.mark.parametrize("others", [0, 60])
def test_what_fits_is_found_and_the_best_comes_first(query: str, expected: list[str], others: int) -> None:
    assert names(query, OFFICE + many(others)) == expected


@pytest.mark.parametrize(
    "query",
    [
        "hello",
        "what can you do for the user",
        "日本語で答えてください",
        "",
        " \n",
        "😀😀",
        '"',
        '* OR NEAR( AND NOT ^a {b} : c - "d',
        "description : secret",
        "'; DROP TABLE skill; --",
        "\0\ud800",
        "a" * 100_000,
        "the of and " * 30_000,
    ],
    ids=lambda query: ascii(query[:20]),
)
def test_talk_and_odd_text_find_nothing(query: str) -> None:
    assert names(query) == []


def test_any_character_is_fit_for_a_query_and_a_description() -> None:
    for start in range(0, sys.maxunicode, 4096):
        text = " ".join(map(chr, range(start, min(start + 4096, sys.maxunicode))))
        for at in range(0, len(text), 800):
            find(text[at : at + 800], OFFICE)
    odd = "".join(map(chr, range(0x20, 0x400))) + "\ud800\0 zebra"
    assert names("zebra", [*OFFICE, make("odd", odd)]) == ["odd"]


def test_hidden_skills_are_not_found_and_there_may_be_none() -> None:
    assert names("pdf", [make("pdf", hidden=True)]) == names("pdf", []) == []


def test_the_skill_that_is_named_comes_first_and_others_with_the_word_follow() -> None:
    skills = [*(make(f"pdf-{n}", "Merges PDF.") for n in range(20)), make("pdf", "Very long. " * 90)]
    assert names("pdf", skills, most=3)[0] == "pdf"
    assert len(set(names("pdf", skills, most=3))) == 3


@pytest.mark.parametrize(("most", "count"), [(0, 0), (-1, 0), (1, 1), (8, 8), (500, 300)])
def test_no_more_are_found_than_asked_for(most: int, count: int) -> None:
    assert len(names("machines", many(300), most)) == count


def test_the_order_of_the_skills_changes_nothing() -> None:
    skills = OFFICE + many(20)
    assert names("documents machines", skills) == names("documents machines", skills[::-1])


def test_an_edited_description_counts_at_once(tmp_path: Path) -> None:
    write_skill(tmp_path, "pdf", "Fills forms.")
    store = SkillStore(tmp_path)
    assert [skill.name for skill in find("forms", list(store.scan().skills.values()))] == ["pdf"]
    write_skill(tmp_path, "pdf", "Draws charts.")
    changed = list(store.scan().skills.values())
    assert find("forms", changed) == []
    assert find("chart", changed) == changed


def test_equal_catalogs_share_an_index_and_few_indexes_are_kept() -> None:
    def index(word: str) -> object:
        return index_of(many(10, word))

    assert index("first") is index("first")
    kept = [weakref.ref(index(f"word{n}")) for n in range(3 * KEPT)]
    gc.collect()
    assert sum(ref() is not None for ref in kept) == KEPT


def test_threads_find_side_by_side_while_catalogs_come_and_go() -> None:
    catalogs = [[*OFFICE, *many(30, f"word{n}")] for n in range(2 * KEPT)]

    def ask(number: int) -> list[str]:
        return names("slow queries", catalogs[number % len(catalogs)])

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(200))) == [["database-tuning"]] * 200


def test_found_skills_are_told_as_in_the_catalog_in_the_order_given(tmp_path: Path) -> None:
    write_skill(tmp_path, "pdf", '"Fills <b>forms</b> \u202e & more. ' + "x" * 2000 + '"')
    write_skill(tmp_path, "docx", "Writes\n  letters.")
    skills = SkillStore(tmp_path).scan().skills
    docx, pdf = catalog_text(skills.values()).splitlines()[-3:-1]
    assert found_text([skills["pdf"], skills["docx"]]) == f"{pdf}\n{docx}"
    assert "&lt;b&gt;" in pdf and pdf.endswith("…") and "\u202e" not in pdf
    assert found_text([]) == ""
