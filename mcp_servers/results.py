"""What an MCP tool gives back, as the model gets it.

Shape: https://modelcontextprotocol.io/specification/2025-11-25/server/tools#tool-result
"""

from __future__ import annotations

import binascii
import json
from base64 import b64decode
from itertools import groupby
from typing import Any, TypeAlias

from messages import Image, Text
from tools import ToolError

LONGEST = 100_000
"""Characters of text in one result; of a longer one the beginning and the end are kept."""
HEAD, TAIL = 60_000, 39_900
MOST_IMAGES = 20
LARGEST_IMAGE = 5 << 20
"""Characters of base64."""
IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
"""Those that all providers take; of any other kind the conversation would be refused from then on."""
Parts: TypeAlias = list[Text | Image]


def output(result: Any) -> Parts | None:
    """Of an `mcp.types.CallToolResult`; None where it is empty. Raises `ToolError` where the tool has failed."""
    parts = [_part(block) for block in result.content]
    if result.structured_content is not None and not any(isinstance(part, Text) for part in parts):
        words = json.dumps(result.structured_content, ensure_ascii=False, separators=(",", ":"))
        if not any(isinstance(part, Image) and part.data in words for part in parts):  # as some servers say it twice
            parts.insert(0, Text(words))
    parts = _fitting(parts)
    if result.is_error:
        raise ToolError("\n".join(part.text for part in parts if isinstance(part, Text)) or "it failed without a word")
    return parts or None


def _part(block: Any) -> Text | Image:
    match block.type:
        case "text":
            return Text(block.text)
        case "image":
            return _image(block.mime_type, block.data)
        case "resource":
            return _resource(block.resource)
        case "resource_link":
            return Text("\n".join(str(words) for words in (block.name, block.uri, block.description) if words))
        case "audio":
            return _left_out(block.mime_type, block.data, "a sound cannot be given to a model here")
        case other:
            return Text(f"[{other}: not known here]")


def _resource(resource: Any) -> Text | Image:
    text = getattr(resource, "text", None)
    if isinstance(text, str):
        return Text(text)
    kind = resource.mime_type or "application/octet-stream"
    if kind in IMAGES:
        return _image(kind, resource.blob)
    return _left_out(f"{resource.uri}, {kind}", resource.blob, "it is not text")


def _image(kind: str, data: str) -> Text | Image:
    if kind not in IMAGES:
        return _left_out(kind, data, "a picture of this kind cannot be shown")
    if len(data) > LARGEST_IMAGE:
        return _left_out(kind, data, "it is too large")
    try:
        b64decode(data, validate=True)
    except (ValueError, binascii.Error):
        return _left_out(kind, data, "it is not base64")
    return Image(kind, data)


def _left_out(what: str, data: str, why: str) -> Text:
    return Text(f"[{what}, {len(data) * 3 // 4} bytes: left out, as {why}]")


def _fitting(parts: Parts) -> Parts:
    """In their order with neighbouring texts as one; where the text is too long, all of it first."""
    images = [part for part in parts if isinstance(part, Image)]
    texts = [part.text for part in parts if isinstance(part, Text)]
    if len(images) > MOST_IMAGES:
        texts.append(f"[{len(images) - MOST_IMAGES} more pictures are left out]")
        parts = [*(Text(text) for text in texts), *images[:MOST_IMAGES]]
    if sum(map(len, texts)) + len(texts) > LONGEST:
        return [Text(_cut("\n".join(texts))), *images[:MOST_IMAGES]]
    return _merged(parts)


def _merged(parts: Parts) -> Parts:
    merged: Parts = []
    for is_text, run in groupby(parts, lambda part: isinstance(part, Text)):
        found = list(run)
        merged += [Text("\n".join(part.text for part in found if isinstance(part, Text)))] if is_text else found
    return merged


def _cut(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    return f"{text[:HEAD]}\n[… {len(text) - HEAD - TAIL} characters are left out …]\n{text[-TAIL:]}"
