"""Built-in host functions: work that is too heavy to interpret, as precompiles are in the EVM.

Each has a price by formula, charged before it works. A vector is bytes: residues modulo m, each
big-endian and as wide as m (⌈bits/8⌉ bytes), one after another. ``cryptography`` and ``gmpy2`` are
imported when a function needs them, so that the engines themselves run on a bare Python.

| letter | meaning |
|---|---|
| m | the modulus |
| w | 64-bit words of m |
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from bdn.chain.contracts.errors import CallFailure
from bdn.chain.contracts.gas import GasTable
from bdn.chain.contracts.machine import HostFunction
from bdn.chain.contracts.values import kind_of
from bdn.errors import PeerError

MAX_EXPONENT_BITS = 4096
"""Bits of an exponent or a weight."""

MAX_DOMAIN = 64
"""Characters of a signature's domain: `bdn.encoding` keeps how the latest domains begin."""


class Precompile(NamedTuple):
    """A host function made of a price formula and an effect; both take the arguments as a list."""

    price_of: Callable[[Sequence[Any], GasTable], int]
    effect: Callable[[Sequence[Any]], Any]

    def price(self, args: Sequence[Any], table: GasTable) -> int:
        """Return the gas that the call costs, once the arguments' types and sizes are checked."""
        return self.price_of(args, table)

    def __call__(self, args: Sequence[Any]) -> Any:
        """Return the result."""
        return self.effect(args)


# --- arguments ----------------------------------------------------------------------------------


def _typed(args: Sequence[Any], *kinds: type) -> None:
    if len(args) != len(kinds):
        raise CallFailure("arguments", len(kinds), len(args))
    for number, (arg, kind) in enumerate(zip(args, kinds, strict=True), 1):
        if type(arg) is not kind:
            raise CallFailure("argument", number, kind.__name__, kind_of(arg))


def _all_of(items: list[Any], kind: type, what: str) -> None:
    for item in items:
        if type(item) is not kind:
            raise CallFailure("all-of", what, kind.__name__, kind_of(item))


def _width(modulus: int) -> int:
    if modulus < 2:
        raise CallFailure("modulus")
    return (modulus.bit_length() + 7) // 8


def _length(vector: bytes, modulus: int) -> int:
    """How many residues ``vector`` holds."""
    count, rest = divmod(len(vector), _width(modulus))
    if rest:
        raise CallFailure("vector-length", _width(modulus))
    return count


def _exponent(exponent: int) -> int:
    """The bits of an exponent."""
    if exponent < 0 or exponent.bit_length() > MAX_EXPONENT_BITS:
        raise CallFailure("exponent", MAX_EXPONENT_BITS)
    return exponent.bit_length()


def _residues(vector: bytes, modulus: int) -> list[int]:
    width = _width(modulus)
    numbers = [int.from_bytes(vector[at:at + width], "big")
               for at in range(0, len(vector), width)]
    if any(number >= modulus for number in numbers):
        raise CallFailure("residue")
    return numbers


def _packed(numbers: Sequence[Any], modulus: int) -> bytes:
    width = _width(modulus)
    return b"".join(int(number).to_bytes(width, "big") for number in numbers)


# --- prices: each checks types and shapes before it looks at sizes ------------------------------


def _modular(table: GasTable, modulus: int) -> int:
    """The price of one product modulo m."""
    _width(modulus)
    w = 1 + modulus.bit_length() // 64
    return table.modular + w * w // table.modular_divisor


def _hash(table: GasTable, length: int) -> int:
    return table.sha256 + (length // 64 + 1) * table.sha256_block


def _sha256_price(args: Sequence[Any], table: GasTable) -> int:
    _typed(args, bytes)
    return _hash(table, len(args[0]))


def _merkle_price(args: Sequence[Any], table: GasTable) -> int:
    _typed(args, bytes, int, int, list, bytes)
    _all_of(args[3], bytes, "the steps of a proof")
    if any(len(step) != 32 for step in args[3]) or len(args[0]) != 32 or len(args[4]) != 32:
        raise CallFailure("hash-length")
    return (1 + len(args[3])) * _hash(table, 64)


def _signature_price(args: Sequence[Any], table: GasTable) -> int:
    _typed(args, bytes, str, bytes, bytes)
    if len(args[1]) > MAX_DOMAIN:
        raise CallFailure("domain", MAX_DOMAIN)
    return table.signature + _hash(table, len(args[2]))


def _product_price(args: Sequence[Any], table: GasTable) -> int:
    _typed(args, bytes, bytes, int)
    one = _modular(table, args[2])
    first, second = _length(args[0], args[2]), _length(args[1], args[2])
    if first != second:
        raise CallFailure("two-lengths", first, second)
    return (1 + first) * one


def _power_price(args: Sequence[Any], table: GasTable) -> int:
    _typed(args, bytes, int, int)
    return _powers(table, _length(args[0], args[2]), args[1], args[2])


def _powers(table: GasTable, length: int, exponent: int, modulus: int) -> int:
    """The price of powers of ``length`` residues; one more pays for what an exponent needs."""
    return (1 + length) * (3 + 3 * _exponent(exponent) // 2) * _modular(table, modulus)


def _inverse_price(args: Sequence[Any], table: GasTable) -> int:
    _typed(args, bytes, int)
    return (1 + _length(args[0], args[1])) * table.inverse * _modular(table, args[1])


def _weighted_price(args: Sequence[Any], table: GasTable) -> int:
    _typed(args, list, list, int)
    vectors, weights, modulus = args
    _all_of(vectors, bytes, "vectors")
    _all_of(weights, int, "weights")
    if not vectors or len(vectors) != len(weights):
        raise CallFailure("weights")
    length = _length(vectors[0], modulus)
    if any(len(vector) != len(vectors[0]) for vector in vectors):
        raise CallFailure("lengths")
    return sum(_powers(table, length, weight, modulus) for weight in weights)


# --- effects ------------------------------------------------------------------------------------


def _sha256(args: Sequence[Any]) -> bytes:
    return hashlib.sha256(args[0]).digest()


def _merkle_verify(args: Sequence[Any]) -> bool:
    from bdn.chain import merkle  # the ledger's; engines run without it

    leaf_hash, index, size, proof, root = args
    try:
        merkle.verify_inclusion(leaf_hash, index, size, proof, root)
    except (PeerError, ValueError):
        return False
    return True


def _signature_verify(args: Sequence[Any]) -> bool:
    from bdn.errors import SignatureError  # beside the import below
    from bdn.identity import verify_signature  # needs `cryptography`

    public_key, domain, message, signature = args
    try:
        verify_signature(public_key, domain, message, signature)
    except SignatureError:
        return False
    return True


def _vector_product(args: Sequence[Any]) -> bytes:
    from gmpy2 import mpz  # engines run where gmpy2 is absent

    a, b, m = _residues(args[0], args[2]), _residues(args[1], args[2]), mpz(args[2])
    return _packed([x * y % m for x, y in zip(map(mpz, a), b, strict=True)], args[2])


def _vector_power(args: Sequence[Any]) -> bytes:
    from gmpy2 import powmod_base_list  # as above

    return _packed(powmod_base_list(_residues(args[0], args[2]), args[1], args[2]), args[2])


def _vector_inverse(args: Sequence[Any]) -> bytes:
    from gmpy2 import invert  # as above

    try:
        return _packed([invert(x, args[1]) for x in _residues(args[0], args[1])], args[1])
    except ZeroDivisionError as error:
        raise CallFailure("no-inverse") from error


def _weighted_product(args: Sequence[Any]) -> bytes:
    from gmpy2 import mpz, powmod_base_list  # as above

    vectors, weights, modulus = args
    columns = [_residues(vector, modulus) for vector in vectors]
    m = mpz(modulus)
    total = [mpz(1)] * len(columns[0])
    for residues, weight in zip(columns, weights, strict=True):
        powers = powmod_base_list(residues, weight, modulus)
        total = [x * y % m for x, y in zip(total, powers, strict=True)]
    return _packed(total, modulus)


BUILT_IN_HOSTS: Mapping[str, HostFunction] = {
    "sha256": Precompile(_sha256_price, _sha256),
    "merkle_verify": Precompile(_merkle_price, _merkle_verify),
    "signature_verify": Precompile(_signature_price, _signature_verify),
    "vector_product": Precompile(_product_price, _vector_product),
    "vector_power": Precompile(_power_price, _vector_power),
    "vector_inverse": Precompile(_inverse_price, _vector_inverse),
    "weighted_product": Precompile(_weighted_price, _weighted_product),
}
"""The host functions that a contract may call without declaring them."""
