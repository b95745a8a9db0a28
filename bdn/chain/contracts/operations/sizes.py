"""How large values are, and what that costs: the formulas that every operation charges by.

Allocation is counted here and nowhere measured: 16 bytes of text or two items of a list for one
gas, one 64-bit word of a long integer for one. Whatever walks through nested containers charges
for each before it enters it, so that no value, however its parts are shared, is walked for free.
"""

from collections.abc import Iterable
from typing import Any

from bdn.chain.contracts.errors import CallFailure
from bdn.chain.contracts.gas import GasMeter, charge
from bdn.chain.contracts.limits import (
    MAX_DEPTH,
    MAX_INT_BITS,
    MAX_ITEMS,
    MAX_KEY_INT,
    MAX_TEXT,
)
from bdn.chain.contracts.values import kind_of

SMALL = 1 << 63
"""Integers strictly between −SMALL and SMALL have no words to pay for."""


def words(value: int) -> int:
    """Whole 64-bit words of an integer's magnitude; 0 for a small one."""
    return value.bit_length() >> 6


def mismatch(what: str, *values: Any) -> CallFailure:
    """The failure for operands of the wrong types."""
    return CallFailure(f"{what} is not defined for {' and '.join(map(kind_of, values))}")


# --- sizes --------------------------------------------------------------------------------------


def keep(m: GasMeter, value: int) -> int:
    """``value`` as a result: charged by its words, refused beyond `MAX_INT_BITS`."""
    bits = value.bit_length()
    if bits > 63:
        charge(m, bits >> 6)
        if bits > MAX_INT_BITS:
            raise CallFailure(f"an integer has at most {MAX_INT_BITS} bits")
    return value


def allocate(m: GasMeter, kind: type, length: int) -> None:
    """Charge for a new str, bytes (16 per gas) or list (2 items per gas), and limit it."""
    if kind is list:
        charge(m, length >> 1)
        limit = MAX_ITEMS
    else:
        charge(m, length >> 4)
        limit = MAX_TEXT
    if length > limit:
        raise CallFailure(f"a {kind.__name__} has at most {limit} items")


def check_key(m: GasMeter, key: Any) -> None:
    """Charge for hashing ``key``; refuse what is no key."""
    kind = type(key)
    if kind is str or kind is bytes:
        charge(m, len(key) >> 5)
    elif kind is not int:
        raise CallFailure(f"a key is an int, str or bytes, not {kind_of(key)}")
    elif not -MAX_KEY_INT < key < MAX_KEY_INT:
        raise CallFailure("an integer key lies strictly between -2^60 and 2^60")


def measure(m: GasMeter, value: Any, depth: int = 0, inside: Any = None) -> int:
    """Walk ``value``, charging each container before entering it; its size in bytes, roughly.

    Refuses nesting beyond `MAX_DEPTH`, and ``inside`` occurring in it (which would make a
    container contain itself).
    """
    kind = type(value)
    if kind is list or kind is dict:
        if value is inside:
            raise CallFailure("a container cannot contain itself")
        if depth >= MAX_DEPTH:
            raise CallFailure(f"values are nested at most {MAX_DEPTH} deep")
        charge(m, 5 + 5 * len(value))
        items: Iterable[Any] = value.values() if kind is dict else value
        size = 9 + sum(map(len_of, value)) if kind is dict else 9
        for item in items:
            size += measure(m, item, depth + 1, inside)
        return size
    return len_of(value)


def len_of(value: Any) -> int:
    """Upper bound of a scalar's encoded bytes."""
    kind = type(value)
    if kind is int:
        return 9 if -SMALL < value < SMALL else 12 + (value.bit_length() >> 3)
    if kind is str:
        return 9 + 4 * len(value)
    return 9 + len(value) if kind is bytes else 1


def link(m: GasMeter, container: Any, item: Any) -> None:
    """Before ``item`` is put into ``container``: refuse cycles and depth."""
    if type(item) is list or type(item) is dict:
        measure(m, item, 1, container)


def copy(m: GasMeter, value: Any, depth: int = 0) -> Any:
    """A deep copy, charged as it goes."""
    kind = type(value)
    if kind is not list and kind is not dict:
        return value
    if depth >= MAX_DEPTH:
        raise CallFailure(f"values are nested at most {MAX_DEPTH} deep")
    charge(m, 4 + 2 * len(value))
    if kind is list:
        return [copy(m, item, depth + 1) for item in value]
    return {key: copy(m, item, depth + 1) for key, item in value.items()}
