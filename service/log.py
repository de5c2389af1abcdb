"""The log: lines for a person on a terminal, JSON objects for machines; never a secret."""

from __future__ import annotations

import logging
import sys
import time

import orjson

from redaction import Redaction

NAME = "skill_agent"
EXTRA = ("request_id", "method", "path", "status", "ms", "caller")
"""Fields that a record may carry beside its message."""


class _Formatter(logging.Formatter):
    def __init__(self, json: bool, redaction: Redaction) -> None:
        super().__init__()
        self._json = json
        self._redact = redaction.whole

    def format(self, record: logging.LogRecord) -> str:
        words = record.getMessage()
        if record.exc_info:
            words += "\n" + self.formatException(record.exc_info)
        return self._redact(self._as_json(record, words) if self._json else self._as_text(record, words))

    def _as_json(self, record: logging.LogRecord, words: str) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z"
        extra = {name: getattr(record, name) for name in EXTRA if hasattr(record, name)}
        return orjson.dumps({"time": stamp, "level": record.levelname.lower(), "message": words, **extra}).decode()

    def _as_text(self, record: logging.LogRecord, words: str) -> str:
        stamp = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        return f"{stamp} {level}{words}"


def set_up(setting: str, redaction: Redaction) -> None:
    """`setting` is SKILL_AGENT_LOG. Replaces what an earlier call has set up. Other libraries' complaints come to it
    too, as they would else stand on stderr with all that they hold.
    """
    kind, _, debug = setting.partition(":")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(kind == "json" or (not kind and not sys.stderr.isatty()), redaction))
    root = logging.getLogger()
    root.handlers = [*(other for other in root.handlers if not isinstance(other.formatter, _Formatter)), handler]
    for name in (NAME, "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.DEBUG if debug and name == NAME else logging.INFO if name == NAME else logging.WARNING)
