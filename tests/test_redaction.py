"""What is taken out of texts, and what is left in them."""

from __future__ import annotations

import base64
import json
import threading
import time
from urllib.parse import quote

import pytest

from redaction import MOST, Redaction

KEY = 'a/secret "of" +20 letters'


@pytest.mark.parametrize(
    "written",
    [
        KEY,
        json.dumps({"key": KEY}),
        f"https://host/?key={quote(KEY, safe='')}",
        "Basic " + base64.b64encode(KEY.encode()).decode(),
        f"{KEY}{KEY}",
        f"x{KEY}y",
    ],
)
def test_a_known_value_is_found_as_others_write_it(written: str) -> None:
    said = Redaction([KEY])(written)
    assert "secret" not in said and "c2VjcmV0" not in said and "[redacted]" in said


@pytest.mark.parametrize("word", ["", "none", "unused", "ollama", "lm-studio", "12345"])
def test_words_that_stand_for_no_key_are_left_in(word: str) -> None:
    text = f"this says {word} and no more"
    assert Redaction([word])(text) == text


def test_a_word_that_is_a_password_is_taken_out_of_what_is_only_read() -> None:
    redact = Redaction(["swordfish"])
    assert redact.whole("no swordfish here") == "no [redacted] here" and redact("a swordfish") == "a swordfish"


def test_of_two_values_the_longer_one_is_taken_whole() -> None:
    assert Redaction(["secret-1", "secret-1-and-more"])("secret-1-and-more") == "[redacted]"
    late = Redaction(["secret-1"])
    late.add("secret-1-and-more")
    assert late("secret-1-and-more") == "[redacted]"


FORMS = [
    "sk-ant-api03-AbCdEf0123456789_-xyz",
    "sk-proj-0123456789abcdef0123",
    "dapi0123456789abcdef0123456789abcdef-2",
    "dose0123456789abcdef0123456789abcdef",
    "eyJhbGciOiJIUzI1NiJ9abc.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
    "Bearer abcdefghijklmnopqrstuvwxyz",
    "Basic dXNlcjpwYXNzd29yZDEyMw==",
]


@pytest.mark.parametrize("form", FORMS)
def test_what_looks_like_a_key_is_taken_out_of_what_is_only_read(form: str) -> None:
    secret = form.rpartition(" ")[2]
    assert secret not in Redaction().whole(f'"authorization": "{form}", ok')
    assert Redaction()(form) == form, "a file that is edited keeps its letters"


@pytest.mark.parametrize(
    "text", ["a risk-free task", "sk-learn", "Bearer of bad news", "Basic authentication", "eyes. eyes. eyes."]
)
def test_words_that_only_begin_like_a_key_are_left_in(text: str) -> None:
    assert Redaction().whole(text) == text


HOSTILE = ["ey-", "-ey", "ey", f"ey{'A' * 16}-", f"ey{'A' * 16}.", "sk-", "sk-AA.", "Bearer ", "dapi0", "Basic /"]


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_long_text_costs_no_more_than_its_length(piece: str) -> None:
    begun = time.process_time()
    Redaction().whole(piece * (300_000 // len(piece)))
    assert time.process_time() - begun < 3, "and not minutes"


def test_values_that_pass_are_forgotten_when_there_are_many_and_the_settings_never() -> None:
    redact = Redaction([KEY])
    for number in range(3 * MOST):
        redact.add(f"passing-token-{number}")
    assert redact(f"passing-token-{3 * MOST - 1}") == redact(KEY) == "[redacted]"
    assert redact("passing-token-0").endswith("-token-0")


def test_threads_may_add_while_others_read() -> None:
    redact, seen = Redaction(), []

    def add(name: str) -> None:
        for number in range(40):
            redact.add(f"{name}-{number}-token")
            seen.append(redact(f"{name}-{number}-token"))

    threads = [threading.Thread(target=add, args=(name,)) for name in ("one", "two", "three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 120 and set(seen) == {"[redacted]"}
