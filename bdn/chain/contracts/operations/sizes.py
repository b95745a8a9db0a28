"""How large values are, and what that costs: the formulas that every operation charges by.

Memory is counted here and nowhere measured: a character outside ASCII takes four bytes, because one
of them widens the whole text; an item of a list takes eight; a long integer an eighth of its
bits. Whatever walks through nested containers charges for each before it enters it, so that no
value, however its parts are shared, is walked for free.
"""

from collections.abc import Iterable
from typing import Any

from bdn.chain.contracts.errors import CallFailure, OutOfGas
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
    return CallFailure("undefined", what, " and ".join(map(kind_of, values)))


# --- sizes --------------------------------------------------------------------------------------


def keep(m: GasMeter, value: int) -> int:
    """``value`` as a result: charged by its words, refused beyond `MAX_INT_BITS`."""
    bits = value.bit_length()
    if bits > 63:
        charge(m, bits // (8 * m.table.bytes_per_gas))
        if bits > MAX_INT_BITS:
            raise CallFailure("too-many-bits", MAX_INT_BITS)
    return value


def allocate(m: GasMeter, kind: type, length: int, ascii_only: bool = True) -> None:
    """Charge for a new str, bytes or list of ``length``, and limit it.

    ``ascii_only`` is false for a str that may hold other characters.
    """
    size = 8 if kind is list else 1 if ascii_only else 4
    m.gas -= length * size // m.table.bytes_per_gas
    if m.gas < 0:
        raise OutOfGas()
    limit = MAX_ITEMS if kind is list else MAX_TEXT
    if length > limit:
        raise CallFailure("too-many", kind.__name__, limit)


def is_ascii(value: Any) -> bool:
    """Whether each item of ``value`` takes one byte; true of everything that is no str."""
    return type(value) is not str or value.isascii()


def separate(m: GasMeter, value: Any, count: int) -> None:
    """Charge for the one-character texts that walking over ``count`` of a str makes."""
    if not is_ascii(value):
        charge(m, m.table.character * count)


def scan(m: GasMeter, length: int) -> None:
    """Charge for comparing or hashing ``length`` characters."""
    charge(m, length // m.table.scanned_per_gas)


def search(m: GasMeter, text: Any, part: Any) -> None:
    """Charge for looking for ``part`` everywhere in ``text``, both str or both bytes.

    CPython compares position by position where text or part is short, and by the two-way
    algorithm, whose time is linear, elsewhere (Objects/stringlib/fastsearch.h).
    """
    n, k, t = len(text), len(part), m.table
    pairs = n * k if n < 2_500 or (k < 100 and n < 30_000) or k < 6 else 4 * (n + k)
    charge(m, (n + k) // t.searched_per_gas + pairs // t.pairs_per_gas)


def check_key(m: GasMeter, key: Any) -> None:
    """Charge for hashing ``key``; refuse what is no key."""
    kind = type(key)
    if kind is str or kind is bytes:
        scan(m, len(key))
    elif kind is not int:
        raise CallFailure("no-key-kind", kind_of(key))
    elif not -MAX_KEY_INT < key < MAX_KEY_INT:
        raise CallFailure("key-range")


def measure(m: GasMeter, value: Any, depth: int = 0, inside: Any = None) -> int:
    """Walk ``value``, charging each container before entering it; its size in bytes, roughly.

    Refuses nesting beyond `MAX_DEPTH`, and ``inside`` occurring in it (which would make a
    container contain itself).
    """
    kind = type(value)
    if kind is list or kind is dict:
        if value is inside:
            raise CallFailure("cycle")
        if depth >= MAX_DEPTH:
            raise CallFailure("depth", MAX_DEPTH)
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
        return 9 + (len(value) if value.isascii() else 4 * len(value))
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
        raise CallFailure("depth", MAX_DEPTH)
    charge(m, 4 + len(value) * (3 if kind is list else m.table.copied))
    if kind is list:
        return [copy(m, item, depth + 1) for item in value]
    return {key: copy(m, item, depth + 1) for key, item in value.items()}
