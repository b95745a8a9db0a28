"""Checks of what a caller passes in, so that what is wrong is refused where it is given.

Python's own integers and NumPy's are both counts; a float, a text or a truth value is not, even
where it would compare equal.
"""

import operator
from pathlib import Path
from typing import Any

from bdn.errors import UsageError


def as_integer(
    value: Any, what: str, least: int | None = None, error: type[UsageError] = UsageError
) -> int:
    """Return ``value`` as a Python integer.

    Args:
        value: an integer of any library (it has ``__index__``); truth values are refused.
        what: what the caller calls it, for the message: "a client's sample count".
        least: the smallest value allowed.
        error: the class to raise.

    Raises:
        UsageError: it is no integer, or too small (or ``error``).
    """
    try:
        if isinstance(value, bool) or type(value).__name__ == "bool_":
            raise TypeError
        number = operator.index(value)
    except TypeError:
        kind = type(value).__name__
        raise error(f"{what} must be an integer, not a value of type {kind}") from None
    if least is not None and number < least:
        shown = number if number.bit_length() <= 64 else "a large negative number"
        raise error(f"{what} must be at least {least}, not {shown}")
    return number


def parse_count(text: str, most: int) -> int:
    """Return the whole number from 0 to ``most`` that ``text`` writes in decimal ASCII digits.

    Raises `UsageError` for anything else; a text with more digits than ``most`` is never converted.
    """
    if not (len(text) <= len(str(most)) and text.isascii() and text.isdecimal()
            and int(text) <= most):
        raise UsageError(f"a whole number from 0 to {most:,} is needed, not {text[:40]!r}")
    return int(text)


def as_bytes(value: Any, what: str) -> bytes:
    """Return ``value``, bytes or another buffer of bytes, as bytes; ``what`` is its name.

    Raises `UsageError` for text and for everything else.
    """
    if not isinstance(value, (bytes, bytearray, memoryview)):
        kind = type(value).__name__
        raise UsageError(f"{what} must be bytes, not a value of type {kind}")
    return bytes(value)


def check_type(value: Any, kind: type, what: str) -> None:
    """Raise `UsageError` unless ``value``, which the caller calls ``what``, is a ``kind``."""
    if not isinstance(value, kind):
        found = type(value).__name__
        raise UsageError(f"{what} must be a {kind.__name__}, not a value of type {found}")


PIECE = 1 << 16
"""Bytes that `read_bounded` asks for at a time."""


def read_bounded(path: Path, most: int) -> bytes:
    """Return the content of the file at ``path``, of at most ``most`` bytes.

    No more than that is ever read, so a device that never ends is refused like a long file. Raises
    `UsageError` for more bytes; `OSError` where the file cannot be read.
    """
    data = bytearray()
    with path.open("rb") as stream:
        while piece := stream.read(PIECE):  # in pieces, since read(n) allocates n bytes at once
            data += piece
            if len(data) > most:
                raise UsageError(f"{path} has more than {most:,} bytes: it is no file of this "
                                 "kind")
    return bytes(data)


__all__ = ["as_bytes", "as_integer", "check_type", "parse_count", "read_bounded"]
