"""What a call leaves behind: its result, its price, its events, or why it failed.

A receipt is hashed into the ledger, so it holds nothing that may differ from one Python to the
next: no exception's text, no `repr`, nothing that a table of Unicode decides. A failure is a code
with arguments; the sentence for people is made when somebody reads it.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any

from bdn.chain.contracts.errors import CallFailure
from bdn.chain.contracts.limits import MAX_TEXT
from bdn.chain.contracts.values import to_plain
from bdn.encoding import at_most, bits

STATUSES = ("ok", "reverted", "failed", "out-of-gas", "refused")

SENTENCES = {
    "all-of": "{0} are {1}, not {2}",
    "argument": "argument {0} is {1}, not {2}",
    "arguments": "{0} argument(s) are needed, not {1}",
    "arity": "{0} takes {1} argument(s), not {2}",
    "cycle": "a container cannot contain itself",
    "depth": "values are nested at most {0} deep",
    "dict-pop": "a dict's pop takes a key",
    "digits": "int takes decimal digits, with a minus sign or without",
    "division": "division by zero",
    "does-not-fit": "the number is negative or does not fit the length",
    "domain": "a signature's domain has at most {0} characters",
    "entries": "a dict has at most {0} entries; larger tables go to storage",
    "expected": "expected {0}, not {1}",
    "exponent": "an exponent has 0 to {0} bits and is not negative",
    "from-bytes": "from_bytes takes at most {0} bytes",
    "from-hex": "from_hex takes pairs of the digits 0-9 a-f",
    "hash-length": "hashes have 32 bytes",
    "host": "{0} refuses what it was given",
    "index": "the index lies outside",
    "index-kind": "an index is an int, not {0}",
    "insert": "insert takes a position from 0 to the length",
    "key-kind": "storage.{0} has keys of type {1}, not {2}",
    "key-range": "an integer key lies strictly between -2^60 and 2^60",
    "kind": "{0} is {1}, not {2}",
    "lengths": "the vectors have different lengths",
    "list-pop": "a list's pop takes at most one argument",
    "message-kind": "a message is a str, not {0}",
    "modulus": "a modulus is at least 2",
    "negative": "{0} is not negative",
    "no-contract": "there is no contract {0}",
    "no-function": "{0} has no function '{1}' that {2} may call",
    "no-host": "this node provides no host function {0}",
    "no-inverse": "a residue has no inverse",
    "no-key": "no such key",
    "no-key-kind": "a key is an int, str or bytes, not {0}",
    "no-method": "{0} has no method .{1}()",
    "no-storage-key": "storage.{0} has no such key",
    "no-value": "argument {0} is no value of the contract language",
    "no-view": "a @view may call views only, and {0}.{1} is none",
    "not-deployed": "the contract {0} is not deployed",
    "not-in-list": "the list does not hold it",
    "nothing": "{0} of nothing",
    "out-of-gas": "out of gas",
    "part": "replace takes something to look for",
    "pow": "pow(b, e, m) takes e ≥ 0 and m ≥ 1",
    "range": "range takes numbers of less than 64 bits",
    "re-entrancy": "the contract {0} is running already",
    "require": "{0}",
    "residue": "a vector holds residues smaller than the modulus",
    "separator": "split takes a separator",
    "slice": "a slice's bounds are ints, not {0}",
    "sorted": "sorted takes ints only, strings only, or bytes only",
    "stack": "{0}.{1} needs more stack than is left",
    "step": "a range's step is not zero",
    "storage-kind": "storage.{0} holds {1}, not {2}",
    "takes": "{0} takes {1}, not {2}",
    "too-long-to-keep": "what is stored or told has at most {0} bytes",
    "too-many": "a {0} has at most {1} items",
    "too-many-bits": "an integer has at most {0} bits",
    "too-many-digits": "{0} converts at most {1} digits",
    "two-lengths": "the vectors hold {0} and {1} residues",
    "undefined": "{0} is not defined for {1}",
    "unpack": "a list of {0} items was expected",
    "utf-8": "these bytes are not UTF-8",
    "vector-length": "a vector's length is a multiple of the modulus' {0} bytes",
    "weights": "weighted_product takes one weight for each of its vectors, at least one",
    "width": "to_bytes makes 0 to {0} bytes",
}
"""Codes of failures, and what they mean with their arguments."""

MAX_ARGUMENT = 64
"""Characters of an argument, but for the message of `require`, which was paid for by its bytes."""

MAX_SHOWN = 500
"""Characters of a sentence that is shown."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a call failed.

    Attributes:
        code: a key of `SENTENCES`.
        arguments: what the sentence is about, in ASCII; the message of `require` is as it was told.
        contract: in which it happened; "" in the one that was called, or before any began.
        line: 1-based line of that contract's source, if it had begun to run.
    """

    code: str
    arguments: Annotated[tuple[Annotated[str, at_most(4 * MAX_TEXT)], ...], at_most(8)] = ()
    contract: str = ""
    line: Annotated[int, bits(32)] | None = None

    @classmethod
    def of(cls, failure: CallFailure, called: str) -> "Reason":
        """Return the reason that ``failure`` gives for the end of a call of ``called``."""
        arguments = tuple(map(str, failure.arguments))
        if failure.code != "require":
            arguments = tuple(map(bounded, arguments))
        contract = "" if failure.contract == called else failure.contract
        return cls(failure.code, arguments, contract, failure.line)

    def __str__(self) -> str:
        """Return the sentence, such as ``line 12: balance too small``, fit for a terminal."""
        known = SENTENCES.get(self.code)
        try:
            sentence = known.format(*self.arguments) if known is not None else self.code
        except IndexError:  # read from elsewhere
            sentence = self.code
        if self.line is not None:
            place = f"{self.contract}, " if self.contract else ""
            sentence = f"{place}line {self.line}: {sentence}"
        shown = "".join(c if c.isprintable() else escaped(c) for c in sentence[:MAX_SHOWN])
        return shown if len(sentence) <= MAX_SHOWN else shown + "…"


def escaped(character: str) -> str:
    """Return ``character`` as ``\\u{1fae8}``, by its number alone."""
    return f"\\u{{{ord(character):x}}}"


def bounded(text: str) -> str:
    """Return ``text`` in printable ASCII, and its beginning only if it is long."""
    shown = "".join(c if " " <= c <= "~" else escaped(c) for c in text[:MAX_ARGUMENT])
    return shown if len(text) <= MAX_ARGUMENT else shown + "..."


@dataclass(frozen=True, slots=True)
class CallEvent:
    """What `emit` told.

    Attributes:
        contract: the contract that emitted it.
        name: the event's name.
        fields: its values by name, names ascending.
    """

    contract: str
    name: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CallReceipt:
    """The outcome of one call. Inclusion in a block is not success: read ``ok``.

    Attributes:
        ok: whether it ran to its end; otherwise nothing of it remains but its price.
        result: what the function returned; ``None`` when it failed.
        gas_used: at most the gas given; all of it when it ran out.
        events: in the order of `emit`; empty when it failed.
        status: ``ok``; ``reverted`` by `require`; ``failed`` by an error in the contract (a type,
            a key, a limit) or a host function; ``out-of-gas``; ``refused``: no such function, a
            caller that is not permitted, or wrong arguments.
        reason: why it failed, or ``None``.
        detail: what this node can add to the reason, for its own log; no part of the outcome.
    """

    ok: bool
    result: Any
    gas_used: int
    events: tuple[CallEvent, ...]
    status: str
    reason: Reason | None = None
    detail: str = field(default="", compare=False)

    @property
    def error(self) -> str | None:
        """The reason as a sentence: ``line 12: balance too small``."""
        return None if self.reason is None else str(self.reason)

    @property
    def line(self) -> int | None:
        """The line of the contract's source where it failed, if it had begun to run."""
        return None if self.reason is None else self.reason.line

    def to_plain(self) -> dict[str, Any]:
        """Return a map for JSON; dicts inside values are ``{"dict": [[key, value], …]}``."""
        return {
            "ok": self.ok, "result": to_plain(self.result), "gas_used": self.gas_used,
            "events": [[event.contract, event.name,
                        [[name, to_plain(value)] for name, value in event.fields.items()]]
                       for event in self.events],
            "error": self.error, "line": self.line, "status": self.status,
        }
