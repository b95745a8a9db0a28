"""Values of the ledger as short text for people, with addresses replaced by names."""

from collections.abc import Mapping
from typing import Any

SHOWN_BYTES = 8
SHOWN_CHARACTERS = 240


def short_hex(data: bytes) -> str:
    """The first bytes in hexadecimal, with an ellipsis where there are more."""
    text = data[:SHOWN_BYTES].hex()
    return text + "…" if len(data) > SHOWN_BYTES else text


def described(value: Any, names: Mapping[bytes, str]) -> str:
    """``value`` as one line: names for known addresses, long things cut."""
    text = _described(value, names)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS - 1] + "…"


def _described(value: Any, names: Mapping[bytes, str]) -> str:
    if isinstance(value, bytes):
        return names.get(value) or short_hex(value) or "empty"
    if isinstance(value, Mapping):
        items = (f"{_described(key, names)}: {_described(item, names)}"
                 for key, item in value.items())
        return "{" + ", ".join(items) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_described(item, names) for item in value) + "]"
    if value is None:
        return "none"
    return str(value)


def size_text(count: float) -> str:
    """Bytes in a unit that people read: 171 B, 7.9 kB, 1.27 MB."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 1000 or unit == "GB":
            break
    return f"{count:.2f} {unit}" if count < 10 else f"{count:.1f} {unit}"


def time_text(milliseconds: float) -> str:
    """Milliseconds in a unit that people read: 4 ms, 830 ms, 2.4 s."""
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.2f} s"
