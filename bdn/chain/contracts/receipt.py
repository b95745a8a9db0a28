"""What a call leaves behind: its result, its price, its events, or why it failed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bdn.chain.contracts.values import from_plain, to_plain
from bdn.errors import EncodingError

STATUSES = ("ok", "reverted", "failed", "out-of-gas", "refused")


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
        error: ``line 12: balance too small``, or ``None``.
        line: the line of the contract's source where it failed, if it had begun to run.
        status: ``ok``; ``reverted`` by `require`; ``failed`` by an error in the contract (a type,
            a key, a limit) or a host function; ``out-of-gas``; ``refused``: no such function, a
            caller that is not permitted, or wrong arguments.
    """

    ok: bool
    result: Any
    gas_used: int
    events: tuple[CallEvent, ...]
    error: str | None
    line: int | None
    status: str

    def to_plain(self) -> dict[str, Any]:
        """A map for `bdn.encoding`; dicts inside values as ``{"dict": [[key, value], …]}``."""
        return {
            "ok": self.ok, "result": to_plain(self.result), "gas_used": self.gas_used,
            "events": [[event.contract, event.name,
                        [[name, to_plain(value)] for name, value in event.fields.items()]]
                       for event in self.events],
            "error": self.error, "line": self.line, "status": self.status,
        }

    @classmethod
    def from_plain(cls, plain: Any) -> "CallReceipt":
        """The inverse of `to_plain`; raises `EncodingError` for anything that it never gives."""
        if not isinstance(plain, Mapping) or plain.keys() != set(cls.__slots__):
            raise EncodingError(f"a receipt has exactly {', '.join(cls.__slots__)}")
        try:
            events = tuple(
                CallEvent(contract, name, {key: from_plain(value) for key, value in pairs})
                for contract, name, pairs in plain["events"])
        except (TypeError, ValueError) as error:
            raise EncodingError(f"a receipt's events: {error}") from error
        receipt = cls(plain["ok"], from_plain(plain["result"]), plain["gas_used"], events,
                      plain["error"], plain["line"], plain["status"])
        receipt._check()
        if receipt.to_plain() != plain:
            raise EncodingError("a receipt's events have their fields in order")
        return receipt

    def _check(self) -> None:
        typed = (type(self.ok) is bool and type(self.gas_used) is int and self.gas_used >= 0
                 and type(self.error) in (str, type(None)) and type(self.line) in (int, type(None))
                 and all(type(event.contract) is str and type(event.name) is str
                         and all(type(name) is str for name in event.fields)
                         for event in self.events))
        if not typed or self.status not in STATUSES or self.ok != (self.status == "ok"):
            raise EncodingError("a receipt's fields have the wrong types")

    def encode(self) -> bytes:
        """Strict CBOR of `to_plain`."""
        from bdn.encoding import encode  # engines also run where cbor2 is absent

        return encode(self.to_plain())

    @classmethod
    def decode(cls, data: bytes) -> "CallReceipt":
        """The inverse of `encode`; raises `EncodingError`."""
        from bdn.encoding import decode  # as above

        return cls.from_plain(decode(data))
