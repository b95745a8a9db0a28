"""The roots of every expected error.

Three kinds are kept apart, because they call for different answers: the *caller* asked for
something impossible (mend the call), a *peer* sent something that the rules forbid (drop it and
remember who), or *stored data* is not what it once was (stop and look). Each package derives its
own classes from these; the command line turns any of them into one line and exit status 2.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class BdnError(Exception):
    """Root of all expected errors. Its message says what was wrong and how to mend it."""

    def __reduce__(self) -> tuple[Any, ...]:
        """How it travels from a worker process: exceptions are otherwise made anew by calling the
        class with the message alone, which fails where ``__init__`` asks for more."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(cls: type[BdnError], args: tuple[Any, ...], state: dict[str, Any]) -> BdnError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class UsageError(BdnError, ValueError):
    """The caller's misuse: an argument out of range, a missing file, options that contradict."""


class PeerError(BdnError):
    """A peer's misbehaviour: a message, proof or transaction that the rules refuse."""


class IntegrityError(BdnError):
    """Stored or fetched data that does not verify against the digest or seal that names it."""


class EncodingError(PeerError, UsageError):
    """Bytes outside the strict CBOR profile, or a value that the profile cannot carry."""


class SignatureError(PeerError):
    """A signature that does not verify under the public key that it claims."""


# --- values in messages -------------------------------------------------------------------------

SHOWN = 80
"""Characters of a value that a message shows."""


def shown(value: object, limit: int = SHOWN) -> str:
    r"""Return ``value`` for an error message: at most ``limit`` characters, escaped to ASCII.

    The value may come from anywhere: a text of megabytes, an integer that Python refuses to print,
    control characters, an object whose ``repr`` raises. The result is the same on every version of
    Python, since it depends on no Unicode table::

        >>> print(shown("a\N{BEL}b"), shown(1 << 20000), shown(b"ab" * 99, limit=12), sep=", ")
        'a\x07b', an integer of 20001 bits, 6162616261... (198 bytes)
    """
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 3 * limit:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, (bytes, bytearray)):
        size = (limit - 2) // 2
        return value.hex() if len(value) <= size else (
            f"{value[:size].hex()}... ({len(value)} bytes)")
    if isinstance(value, str):
        return _cut(ascii(value[:limit]), limit, len(value))
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        return f"a {type(value).__name__} of {len(value)} items"
    try:
        return _cut(ascii(value), limit, 0)
    except Exception:  # noqa: BLE001 - whatever a foreign repr raises, a message must come out
        return f"a {type(value).__name__}"


def _cut(text: str, limit: int, length: int) -> str:
    if len(text) <= limit and length <= limit:
        return text
    return f"{text[:limit - 3]}..." + (f" ({length} characters)" if length else "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question that names the known word nearest to ``word``; "" where none is near."""
    near = get_close_matches(word[:80], list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
