"""What is known of models: found by their names, reckoned into costs, and corrected by the user's own file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from messages import Usage
from model_facts import OURS, Facts, Prices, facts
from settings import SettingsError

ENTRIES: list[dict[str, Any]] = json.loads(OURS.read_text("utf-8"))["models"]


def users(tmp_path: Path, *entries: object) -> Path:
    return file(tmp_path, json.dumps({"models": entries}))


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "models.json"
    path.write_text(text, "utf-8")
    return path


def fault(path: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        facts("openai/gpt-4o", path)
    return str(caught.value)


# Ours


@pytest.mark.parametrize(
    ("model", "window", "output", "price"),
    [
        ("anthropic/claude-sonnet-4-5", 200_000, 64_000, 3),
        ("anthropic/claude-sonnet-4-5-20250929", 200_000, 64_000, 3),
        ("anthropic/claude-opus-4-20250514", 200_000, 32_000, 15),
        ("anthropic/claude-opus-5-5", 1_000_000, 128_000, 4),
        ("anthropic/claude-opus-5", 1_000_000, 128_000, 5),
        ("anthropic/claude-3-5-haiku-latest", 200_000, 8192, 0.8),
        ("databricks/databricks-claude-sonnet-4-5", 200_000, 64_000, 3),
        ("databricks/databricks-claude-sonnet-4", 200_000, 64_000, 3),
        ("databricks/system.ai.claude-sonnet-5", 1_000_000, 128_000, 2),
        ("databricks/databricks-gpt-5-mini", 272_000, 128_000, 0.25),
        ("databricks/databricks-gpt-5-4", 922_000, 128_000, 2.5),
        ("databricks/databricks-gpt-oss-120b", 128_000, 32_768, 0.15),
        ("databricks/databricks-meta-llama-3-3-70b-instruct", 128_000, 0, 0.5),
        ("databricks/databricks-gemini-2-5-pro", 1_048_576, 65_536, 1.25),
        ("databricks/databricks-qwen3-next-80b-a3b-instruct", 0, 0, 0.15),
        ("openai/gpt-5", 272_000, 128_000, 1.25),
        ("openai/gpt-5-2025-08-07", 272_000, 128_000, 1.25),
        ("openai/gpt-5-pro", 272_000, 128_000, 15),
        ("openai/gpt-5.2-2025-12-11", 272_000, 128_000, 1.75),
        ("openai/gpt-4o-mini-2024-07-18", 128_000, 16_384, 0.15),
        ("openai/gpt-4o-2024-05-13", 128_000, 4096, 5),
        ("openai/o3-mini", 200_000, 100_000, 1.1),
        ("openai/deepseek-v4-pro", 1_000_000, 384_000, 1.32),
        ("openai/mistral-small-latest", 256_000, 0, 0.15),
        ("azure/My-GPT-4.1-mini", 1_047_576, 32_768, 0.4),
    ],
)
def test_a_model_is_known_by_its_name_wherever_it_is_served(model: str, window: int, output: int, price: float) -> None:
    found = facts(model)
    assert (found.window, found.output, found.prices.input) == (window, output, price)


@pytest.mark.parametrize("model", ["openai/never-heard-of-it", "azure/chat-prod", "anthropic/", "", "databricks/foo3"])
def test_nothing_is_made_up_about_an_unknown_model(model: str) -> None:
    assert facts(model) == Facts() and facts(model).cost(Usage(1000, 1000)) is None


def test_a_claude_that_is_not_listed_has_a_window_and_no_price() -> None:
    found = facts("anthropic/claude-opus-9")
    assert found.window == 200_000 and found.cost(Usage(1, 1)) is None


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry["match"]))
def test_no_entry_is_hidden_by_an_earlier_one(entry: dict[str, Any]) -> None:
    globs = entry["match"] if isinstance(entry["match"], list) else [entry["match"]]
    for glob in globs:
        name = re.sub(r"\[(.)[^]]*\]", r"\1", glob).replace("*", "")
        found = facts(f"openai/{name}")
        assert (found.window, found.output) == (entry.get("window", 0), entry.get("output", 0)), name
        assert found.prices.input == entry.get("prices", {}).get("input"), name


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry["match"]))
def test_cached_input_is_cheaper_than_fresh_and_output_is_dearest(entry: dict[str, Any]) -> None:
    for prices in (entry.get("prices"), entry.get("long")):
        if prices:
            assert prices.get("cache_read", 0) < prices["input"] <= prices.get("cache_write", prices["input"])
            assert prices["input"] <= prices["output"] or "ministral" in str(entry["match"])
    assert "long" not in entry or entry["long"]["input"] > entry["prices"]["input"]


def test_importing_reads_no_facts() -> None:
    code = (
        "import sys; seen = []; sys.addaudithook(lambda what, args: seen.append(str(args)) if what == 'open' else 0);"
        "import model_facts; assert not [path for path in seen if '.json' in path], seen"
    )
    subprocess.run([sys.executable, "-c", code], cwd=OURS.parent, check=True)


# Costs


PRICED = Facts(prices=Prices(3, 15, 0.3, 3.75))


def test_input_and_output_cost_their_prices_for_a_million() -> None:
    assert PRICED.cost(Usage(input=1_000_000, output=100_000)) == pytest.approx(3 + 1.5)


def test_cached_tokens_are_taken_out_of_the_input_that_counts_them() -> None:
    usage = Usage(input=1_000_000, output=0, cache_read=800_000, cache_write=100_000)
    assert PRICED.cost(usage) == pytest.approx(0.1 * 3 + 0.8 * 0.3 + 0.1 * 3.75)


def test_cached_tokens_without_a_price_of_their_own_cost_what_input_costs() -> None:
    usage = Usage(input=1_000_000, cache_read=500_000, cache_write=250_000)
    assert Facts(prices=Prices(2, 8)).cost(usage) == pytest.approx(2)


def test_a_provider_that_counts_more_cached_tokens_than_input_makes_nothing_negative() -> None:
    assert PRICED.cost(Usage(input=10, cache_read=1_000_000)) == pytest.approx(0.3)


def test_a_price_may_be_zero() -> None:
    assert Facts(prices=Prices(0, 0)).cost(Usage(1000, 1000)) == 0


@pytest.mark.parametrize("prices", [Prices(), Prices(input=3), Prices(output=15)])
def test_there_is_no_cost_where_a_price_is_not_known(prices: Prices) -> None:
    assert Facts(prices=prices).cost(Usage(1000, 1000)) is None


def test_a_long_call_is_priced_whole_at_its_own_prices() -> None:
    haiku = facts("anthropic/claude-haiku-5-5")
    assert haiku.cost(Usage(input=100_000, output=1_000_000)) == pytest.approx(0.01 + 0.5)
    assert haiku.cost(Usage(input=100_001, output=1_000_000)) == pytest.approx(0.0500005 + 2.5)


# The user's file


def test_the_users_entries_come_first_and_decide_alone(tmp_path: Path) -> None:
    path = users(tmp_path, {"match": "gpt-4o", "window": 5000}, {"match": "*", "output": 7})
    assert facts("openai/gpt-4o", path) == Facts(window=5000)
    assert facts("openai/gpt-4o-mini", path) == Facts(output=7)


def test_what_the_user_does_not_name_is_known_from_ours(tmp_path: Path) -> None:
    path = users(tmp_path, {"match": ["chat-prod", "Chat-Test*"], "window": 128_000, "prices": {"input": 1}})
    assert facts("azure/gpt-4o", path) == facts("azure/gpt-4o") != Facts()
    assert facts("azure/chat-test-2", path).window == 128_000


def test_nulls_and_comments_say_nothing(tmp_path: Path) -> None:
    entry = {"match": "m", "comment": "ours", "window": None, "prices": {"comment": ["x"], "input": 1, "output": None}}
    path = file(tmp_path, "\ufeff" + json.dumps({"comment": 1, "models": [entry]}))
    assert facts("openai/m", path) == Facts(prices=Prices(input=1))


def test_a_name_with_slashes_is_matched_whole(tmp_path: Path) -> None:
    path = users(tmp_path, {"match": "meta-llama/*", "window": 1})
    assert facts("openai/meta-llama/Llama-3.3-70B", path).window == 1


def test_a_file_is_read_once(tmp_path: Path) -> None:
    path = users(tmp_path, {"match": "m", "window": 1})
    assert facts("openai/m", path).window == 1
    path.write_text("no more JSON")
    assert facts("openai/m", path).window == 1


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"window": 5}, "entry 2, match: expected a glob or a list of globs"),
        ({"match": []}, "entry 2, match: expected a glob or a list of globs"),
        ({"match": ["a", 5]}, 'entry 2 (["a", 5]), match: expected a glob or a list of globs'),
        ({"match": "x", "window": "8k"}, 'entry 2 ("x"), window: expected a whole number of at least 1'),
        ({"match": "x", "window": 0}, 'entry 2 ("x"), window: expected a whole number of at least 1'),
        ({"match": "x", "output": True}, 'entry 2 ("x"), output: expected a whole number of at least 1'),
        ({"match": "x", "price": 3}, 'entry 2 ("x"), price: there is no such key, only match, window, output, prices'),
        ({"match": "x", "two\nlines": 3}, 'entry 2 ("x"), two lines: there is no such key, only match'),
        ({"match": "x", "prices": 3}, 'entry 2 ("x"), prices: expected an object'),
        ({"match": "x", "prices": {"input": "3"}}, 'entry 2 ("x"), prices, input: expected US dollars for a million'),
        ({"match": "x", "prices": {"input": -1}}, 'entry 2 ("x"), prices, input: expected US dollars for a million'),
        ({"match": "x", "prices": {"cached": 1}}, 'entry 2 ("x"), prices, cached: there is no such key, only input'),
        ({"match": "x", "prices": {"above": 1}}, 'entry 2 ("x"), prices, above: there is no such key, only input'),
        ({"match": "x", "long": {"input": 1}}, 'entry 2 ("x"), long, above: expected a whole number of at least 1'),
        ("x", "entry 2: expected an object"),
        (None, "entry 2: expected an object"),
    ],
)
def test_a_fault_is_told_in_one_line_with_its_entry_and_key(tmp_path: Path, entry: object, words: str) -> None:
    path = users(tmp_path, {"match": "fine"}, entry)
    told = fault(path)
    assert told.startswith(f"SKILL_AGENT_MODELS is {str(path)!r}: {words}") and "\n" not in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "the file is not JSON: Expecting property name"),
        ("", "the file is not JSON: Expecting value: line 1 column 1"),
        ("[" * 100_000, "the file is not JSON: RecursionError"),
        ("[]", "the file: expected an object"),
        ("{}", "the file, models: expected a list of entries"),
        ('{"models": {}}', "the file, models: expected a list of entries"),
        ('{"modells": []}', "the file, modells: there is no such key, only models"),
        ('{"models": [{"match": "x", "prices": {"input": NaN}}]}', 'entry 1 ("x"), prices, input: expected US dollars'),
        ('{"models": [{"match": "x", "prices": {"input": 1e999}}]}', 'entry 1 ("x"), prices, input: expected US'),
    ],
)
def test_a_file_of_another_form_is_told_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    told = fault(file(tmp_path, text))
    assert f": {words}" in told and "\n" not in told


def test_a_file_that_is_not_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    path.write_bytes(b"\xff\xfe\x00")
    assert fault(path).endswith("the file is not JSON: UnicodeDecodeError")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert fault(tmp_path / "none.json").endswith("the file cannot be read (FileNotFoundError)")
    assert fault(tmp_path).endswith("the file cannot be read (IsADirectoryError)")
