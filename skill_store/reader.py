"""The head of a SKILL.md file: find it, distrust it, read it, remember which line says what.

Authors write YAML by hand, so small mistakes are repaired and reported. Strangers write it too, so
its parse events are inspected before anything is built: deep nesting kills the C constructor, and
a few hundred bytes of aliases expand without end.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

MAX_HEAD = 64 * 1024
"""Characters of frontmatter; real ones stay under 2,000."""
MAX_DEPTH = 20
MAX_EVENTS = 2000
MAX_ENTRIES = 200
"""Top-level entries that a repair tries one by one."""

_OPENING = re.compile(r"(?:[ \t]*\n)*---[ \t]*\n")
_CLOSING = re.compile(r"^(?:---|\.\.\.)[ \t]*$", re.MULTILINE)
# What YAML forbids or counts as a line break, and no prompt needs.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "timestamp", "seq", "map")
)
_ENTRY = re.compile(r"^(?=[^\s}\]])", re.MULTILINE)
_PAIR = re.compile(r"(?P<key>[ \t]*(?:- +)*[\w.-]+[ \t]*:)[ \t]+(?P<value>\S.*)", re.DOTALL)
_TEXT_KEYS = frozenset({"name", "description", "license", "compatibility"})
_RESCUED = re.compile(r"^(name|description)[ \t]*:[ \t]*(.*(?:\n[ \t]+\S.*)*)", re.MULTILINE)
_BLOCK_MARK = re.compile(r"[|>][+-]?\d?\s*(?=\n)")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a file; `line` counts from 1, and 0 means the whole file."""

    path: Path
    line: int
    message: str
    level: Literal["error", "warning"]

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.level}: {self.message}"


@dataclass(frozen=True, slots=True)
class Document:
    """A file taken apart.

    `values` holds strings, lists and dicts of strings; it is empty when the head cannot be used, and
    `problems` then has an error. `lines` maps a key, or "key.subkey", to its line in the file.
    """

    values: Mapping[str, Any]
    lines: Mapping[str, int]
    body: str
    body_line: int
    problems: tuple[Problem, ...] = ()


class Parts(NamedTuple):
    """The text between the markers and the text after them, each with the line it starts on."""

    head: str
    head_line: int
    body: str
    body_line: int


class Unusable(Exception):
    """Why a text is not read; `line` counts from 0 within it."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class _Refused(Unusable):
    """The head is built to harm, so nothing in it is rescued."""


@dataclass(slots=True)
class _Reader:
    """Collects the problems of one file."""

    path: Path
    problems: list[Problem] = field(default_factory=list)

    def warn(self, line: int, message: str) -> None:
        self.problems.append(Problem(self.path, line, message, "warning"))

    def fail(self, line: int, message: str) -> None:
        self.problems.append(Problem(self.path, line, message, "error"))

    def decode(self, data: bytes) -> str:
        if data.startswith(codecs.BOM_UTF8):
            data = data.removeprefix(codecs.BOM_UTF8)
            self.warn(1, "starts with a byte order mark, which many readers refuse")
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            self.warn(data.count(b"\n", 0, error.start) + 1, "is not UTF-8; the bad bytes are replaced")
            text = data.decode(errors="replace")
        return self._printable(text.replace("\r\n", "\n").replace("\r", "\n"))

    def _printable(self, text: str) -> str:
        if found := _CONTROL.search(text):
            line = text.count("\n", 0, found.start()) + 1
            self.warn(line, f"has a control character (U+{ord(found[0]):04X}); spaces replace such characters")
        return _CONTROL.sub(" ", text)

    def head(self, parts: Parts) -> dict[str, Any]:
        """The values of the head, repaired or rescued if need be; raises Unusable."""
        try:
            return _load(parts.head)
        except Unusable as first:
            values = self._repaired(parts, first)
            return values if values is not None else self._rescued(parts, first)

    def _repaired(self, parts: Parts, first: Unusable) -> dict[str, Any] | None:
        try:
            values = _load(_quote_broken_entries(parts.head))
        except _Refused:
            raise
        except Unusable:
            return None
        self.warn(parts.head_line + first.line, f"{first}; read as if the value were in quotes")
        return values

    def _rescued(self, parts: Parts, first: Unusable) -> dict[str, Any]:
        values = {key: _bare(value) for key, value in _RESCUED.findall(parts.head)}
        if isinstance(first, _Refused) or not values.get("description"):
            raise first
        self.warn(parts.head_line + first.line, f"{first}; only name and description are used")
        return values


def read_document(path: Path, data: bytes) -> Document:
    """Take the bytes of a SKILL.md apart; never raises. `path` only labels the problems."""
    reader = _Reader(path)
    text = reader.decode(data)
    parts = _split(text)
    if parts is None:
        reader.fail(1, _no_head(text))
        return Document({}, {}, text, 1, tuple(reader.problems))
    try:
        values = reader.head(parts)
    except Unusable as error:
        reader.fail(parts.head_line + error.line, str(error))
        return Document({}, {}, parts.body, parts.body_line, tuple(reader.problems))
    lines = _line_numbers(parts, reader)
    return Document(values, lines, parts.body, parts.body_line, tuple(reader.problems))


def body_of(data: bytes) -> str:
    """The text after the frontmatter, or all of it when there is none."""
    text = _Reader(Path()).decode(data)
    parts = _split(text)
    return (parts.body if parts else text).strip()


def _split(text: str) -> Parts | None:
    opening = _OPENING.match(text)
    closing = _CLOSING.search(text, opening.end()) if opening else None
    if not opening or not closing:
        return None
    body_start = closing.end() + 1
    head_line = text.count("\n", 0, opening.end()) + 1
    body_line = text.count("\n", 0, body_start) + 1
    return Parts(text[opening.end() : closing.start()], head_line, text[body_start:], body_line)


def _no_head(text: str) -> str:
    if _OPENING.match(text):
        return "the frontmatter has no closing --- line"
    return "there is no frontmatter: the first line has to be ---"


def _load(head: str) -> dict[str, Any]:
    """All scalars as strings; raises Unusable."""
    import frontmatter
    import yaml
    from frontmatter.default_handlers import YAMLHandler

    class GuardedYaml(YAMLHandler):
        """Splitting is done already; loading looks before it builds."""

        def split(self, text: str) -> tuple[str, str]:
            return text, ""

        def load(self, fm: str, **_: object) -> Any:
            return _inspected(fm)

    try:
        # The parser strips the text; a first line keeps the blank ones after it, and so the line numbers.
        values, _ = frontmatter.parse(f"---\n{head}", handler=GuardedYaml())
    except (yaml.YAMLError, ValueError, RecursionError, UnicodeError) as error:
        raise Unusable(*_explained(error)) from error
    return values


def _inspected(source: str) -> dict[str, Any]:
    head = source.removeprefix("---\n")
    _inspect(head, "the frontmatter")
    loader = _base_loader()(head)
    try:
        values = loader.get_single_data()
    finally:
        loader.dispose()
    if not isinstance(values, dict) or not values:
        raise Unusable(0, "the frontmatter has no `key: value` lines")
    return values


def _base_loader() -> Any:
    """The loader that knows no types, merge keys or tags."""
    import yaml

    return getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def tree(text: str, what: str = "the frontmatter") -> Any:
    """The YAML node of `text`, which knows its lines, inspected before anything is built. Raises Unusable."""
    import yaml

    try:
        _inspect(text, what)
        node = yaml.compose(text, Loader=_base_loader())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Unusable(*_explained(error)) from error
    if node is None:
        raise Unusable(0, f"{what} is empty")
    return node


def _inspect(text: str, what: str) -> None:
    """Raise _Refused for YAML that expands, nests or tags more than a skill ever needs."""
    import yaml

    if len(text) > MAX_HEAD:
        raise _Refused(0, f"{what} is longer than {MAX_HEAD // 1024} KiB")
    depth = 0
    events: Iterator[Any] = yaml.parse(text, Loader=_base_loader())
    for count, event in enumerate(events):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if reason := _objection(event, depth, count, what):
            raise _Refused(event.start_mark.line, reason)


def _objection(event: Any, depth: int, count: int, what: str) -> str:
    if getattr(event, "anchor", None):
        return f"anchors and aliases (& and *) are not allowed in {what}"
    if (tag := getattr(event, "tag", None)) and tag not in _PLAIN_TAGS:
        return f"the tag {tag[:60]!r} is not allowed in {what}"
    if depth > MAX_DEPTH:
        return f"{what} nests deeper than {MAX_DEPTH} levels"
    return f"{what} has more than {MAX_EVENTS} items" if count > MAX_EVENTS else ""


def _explained(error: Exception) -> tuple[int, str]:
    """Line within the head, from 0, and one sentence."""
    # What is left open is found late, so the line where it starts tells more; a block starts too early.
    late = "block" not in (getattr(error, "context", None) or "block")
    mark = getattr(error, "context_mark" if late else "problem_mark", None)
    said = getattr(error, "problem", None) or str(error) or type(error).__name__
    return getattr(mark, "line", 0), f"the YAML cannot be read: {str(said).splitlines()[0]}"


def _quote_broken_entries(head: str) -> str:
    """Put quotes around the values of those top-level entries that do not load alone."""
    entries = _ENTRY.split(head)
    if len(entries) > MAX_ENTRIES:
        return head
    return "".join(entry if _loads(entry) else _quoted(entry) for entry in entries)


def _loads(entry: str) -> bool:
    if not entry.strip():
        return True
    try:
        _load(entry)
    except _Refused:
        # A text that starts with *, & or ! is a mistake; elsewhere the refusal stands.
        return entry.partition(":")[0].strip() not in _TEXT_KEYS or "!!" in entry
    except Unusable:
        return entry.startswith("#")
    return True


def _quoted(entry: str) -> str:
    """`key: a: b` as `key: 'a: b'`, with as many lines as before."""
    if (pair := _PAIR.fullmatch(entry)) and pair["value"][0] not in "|>":
        return f"{pair['key']} {_in_quotes(pair['value'])}"
    return "".join(map(_quoted_line, entry.splitlines(keepends=True)))


def _quoted_line(line: str) -> str:
    pair = _PAIR.fullmatch(line)
    if not pair or pair["value"][0] in "'\"[{|>" or ":" not in pair["value"]:
        return line
    return f"{pair['key']} {_in_quotes(pair['value'])}"


def _in_quotes(value: str) -> str:
    text = value.rstrip()
    return "'" + _unquoted(text).replace("'", "''") + "'" + value[len(text) :]


def _bare(value: str) -> str:
    """A rescued value without block marks, quotes and line breaks."""
    return _unquoted(" ".join(_BLOCK_MARK.sub("", value, count=1).split()))


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _line_numbers(parts: Parts, reader: _Reader) -> dict[str, int]:
    """Lines of the keys in the file; warns of keys that are there twice."""
    lines: dict[str, int] = {}
    doubled: dict[str, int] = {}
    for key, line in _keys(parts.head):
        (doubled if key in lines else lines)[key] = parts.head_line + line
    for key, line in doubled.items():
        reader.warn(line, f"{key[:64]!r} is there twice; the last one counts")
    return lines | doubled


def _keys(head: str) -> Sequence[tuple[str, int]]:
    """Keys with their lines from 0, by the parser when it can, else by the look of the lines."""
    try:
        return list(_node_keys(tree(head)))
    except Unusable:
        found = (re.match(r"([\w-]+)[ \t]*:", line) for line in head.split("\n"))
        return [(key[1], line) for line, key in enumerate(found) if key]


def _node_keys(node: Any, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Two levels of keys: "metadata" and "metadata.author"."""
    for key, value in node.value if getattr(node, "id", "") == "mapping" else ():
        yield f"{prefix}{key.value}", key.start_mark.line
        if not prefix:
            yield from _node_keys(value, f"{key.value}.")
