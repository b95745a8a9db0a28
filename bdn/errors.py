"""The roots of every expected error.

Three kinds are kept apart, because they call for different answers: the *caller* asked for
something impossible (mend the call), a *peer* sent something that the rules forbid (drop it and
remember who), or *stored data* is not what it once was (stop and look). Each package derives its
own classes from these; the command line turns any of them into one line and exit status 2.
"""

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
