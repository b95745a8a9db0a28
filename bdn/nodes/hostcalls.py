"""What the mining contract's host functions share: their fixed price, and reading arguments."""

from collections.abc import Sequence
from typing import Any

from bdn.errors import UsageError

GAS_PER_CALL = 20_000
"""What a call costs before its bytes are counted."""


def arguments_of(args: Sequence[Any], count: int) -> Sequence[Any]:
    """``args``, if there are ``count`` of them; raises `UsageError` otherwise."""
    if len(args) != count:
        raise UsageError(f"expected {count} arguments, found {len(args)}")
    return args


def size_of(update: Any) -> int:
    """The bytes that an update's record states; raises `UsageError` where it states none."""
    size = update["size"] if isinstance(update, dict) else None
    if not isinstance(size, int) or size < 0:
        raise UsageError("an update has a size in bytes")
    return size
