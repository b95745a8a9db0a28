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
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from bdn.chain.contracts.errors import CallFailure
from bdn.chain.contracts.gas import GasTable
from bdn.chain.contracts.machine import HostFunction
from bdn.chain.contracts.values import kind_of
from bdn.errors import PeerError

MAX_EXPONENT_BITS = 4096
"""Of an exponent or a weight."""


class Precompile(NamedTuple):
    """A host function made of a price formula and an effect; both take the arguments as a list."""

    price_of: Callable[[Sequence[Any]], int]
    effect: Callable[[Sequence[Any]], Any]

    def price(self, args: Sequence[Any]) -> int:
        """The gas that the call costs; checks the arguments' types first."""
        return self.price_of(args)

    def __call__(self, args: Sequence[Any]) -> Any:
        """The result."""
        return self.effect(args)


def built_in_hosts(table: GasTable) -> dict[str, HostFunction]:
    """The built-in host functions, priced by ``table``."""
    prices = _Prices(table)
    return {
        "sha256": Precompile(prices.sha256, _sha256),
        "merkle_verify": Precompile(prices.merkle, _merkle_verify),
        "signature_verify": Precompile(prices.signature, _signature_verify),
        "vector_product": Precompile(prices.product, _vector_product),
        "vector_power": Precompile(prices.power, _vector_power),
        "vector_inverse": Precompile(prices.inverse, _vector_inverse),
        "weighted_product": Precompile(prices.weighted, _weighted_product),
    }


NAMES = frozenset(
    {"sha256", "merkle_verify", "signature_verify", "vector_product", "vector_power",
     "vector_inverse", "weighted_product"}
)
"""What a contract may call without declaring it."""


# --- arguments ----------------------------------------------------------------------------------


def _typed(args: Sequence[Any], *kinds: type) -> None:
    if len(args) != len(kinds):
        raise CallFailure(f"{len(kinds)} argument(s) are needed, not {len(args)}")
    for number, (arg, kind) in enumerate(zip(args, kinds, strict=True), 1):
        if type(arg) is not kind:
            raise CallFailure(f"argument {number} is {kind.__name__}, not {kind_of(arg)}")


def _all_of(items: list[Any], kind: type, what: str) -> None:
    for item in items:
        if type(item) is not kind:
            raise CallFailure(f"{what} are {kind.__name__}, not {kind_of(item)}")


def _width(modulus: int) -> int:
    if modulus < 2:
        raise CallFailure("a modulus is at least 2")
    return (modulus.bit_length() + 7) // 8


def _length(vector: bytes, modulus: int) -> int:
    """How many residues ``vector`` holds."""
    count, rest = divmod(len(vector), _width(modulus))
    if rest:
        raise CallFailure(
            f"a vector's length is a multiple of the modulus' {_width(modulus)} bytes")
    return count


def _exponent(exponent: int) -> int:
    """The bits of an exponent."""
    if exponent < 0 or exponent.bit_length() > MAX_EXPONENT_BITS:
        raise CallFailure(f"an exponent has 0 to {MAX_EXPONENT_BITS} bits and is not negative")
    return exponent.bit_length()


def _residues(vector: bytes, modulus: int) -> list[int]:
    width = _width(modulus)
    numbers = [int.from_bytes(vector[at:at + width], "big")
               for at in range(0, len(vector), width)]
    if any(number >= modulus for number in numbers):
        raise CallFailure("a vector holds residues smaller than the modulus")
    return numbers


def _packed(numbers: Sequence[Any], modulus: int) -> bytes:
    width = _width(modulus)
    return b"".join(int(number).to_bytes(width, "big") for number in numbers)


# --- prices -------------------------------------------------------------------------------------


class _Prices:
    """The formulas, each checking types before it looks at sizes."""

    def __init__(self, table: GasTable) -> None:
        self.table = table

    def _modular(self, modulus: int) -> int:
        """One product modulo m."""
        _width(modulus)
        w = 1 + modulus.bit_length() // 64
        return self.table.modular + w * w // self.table.modular_divisor

    def sha256(self, args: Sequence[Any]) -> int:
        _typed(args, bytes)
        return self.table.sha256 + (len(args[0]) // 64 + 1) * self.table.sha256_block

    def merkle(self, args: Sequence[Any]) -> int:
        _typed(args, bytes, int, int, list, bytes)
        _all_of(args[3], bytes, "the steps of a proof")
        if any(len(step) != 32 for step in args[3]) or len(args[0]) != 32 or len(args[4]) != 32:
            raise CallFailure("hashes have 32 bytes")
        return (1 + len(args[3])) * (self.table.sha256 + 2 * self.table.sha256_block)

    def signature(self, args: Sequence[Any]) -> int:
        _typed(args, bytes, str, bytes, bytes)
        blocks = (len(args[1]) + len(args[2])) // 64 + 1
        return self.table.signature + blocks * self.table.sha256_block

    def product(self, args: Sequence[Any]) -> int:
        _typed(args, bytes, bytes, int)
        return 1 + max(_length(args[0], args[2]), _length(args[1], args[2])) * self._modular(
            args[2])

    def power(self, args: Sequence[Any]) -> int:
        _typed(args, bytes, int, int)
        products = 2 + 3 * _exponent(args[1]) // 2
        return 1 + _length(args[0], args[2]) * products * self._modular(args[2])

    def inverse(self, args: Sequence[Any]) -> int:
        _typed(args, bytes, int)
        return 1 + _length(args[0], args[1]) * 40 * self._modular(args[1])

    def weighted(self, args: Sequence[Any]) -> int:
        _typed(args, list, list, int)
        vectors, weights, modulus = args
        _all_of(vectors, bytes, "vectors")
        _all_of(weights, int, "weights")
        if not vectors or len(vectors) != len(weights):
            raise CallFailure(
                "weighted_product takes one weight for each of its vectors, at least one")
        one = self._modular(modulus)
        return 1 + sum(_length(vector, modulus) * (3 + 3 * _exponent(weight) // 2) * one
                       for vector, weight in zip(vectors, weights, strict=True))


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
    if len(a) != len(b):
        raise CallFailure(f"the vectors hold {len(a)} and {len(b)} residues")
    return _packed([x * y % m for x, y in zip(map(mpz, a), b, strict=True)], args[2])


def _vector_power(args: Sequence[Any]) -> bytes:
    from gmpy2 import powmod_base_list  # as above

    return _packed(powmod_base_list(_residues(args[0], args[2]), args[1], args[2]), args[2])


def _vector_inverse(args: Sequence[Any]) -> bytes:
    from gmpy2 import invert  # as above

    try:
        return _packed([invert(x, args[1]) for x in _residues(args[0], args[1])], args[1])
    except ZeroDivisionError as error:
        raise CallFailure("a residue has no inverse") from error


def _weighted_product(args: Sequence[Any]) -> bytes:
    from gmpy2 import mpz, powmod_base_list  # as above

    vectors, weights, modulus = args
    columns = [_residues(vector, modulus) for vector in vectors]
    if len(set(map(len, columns))) > 1:
        raise CallFailure("the vectors have different lengths")
    m = mpz(modulus)
    total = [mpz(1)] * len(columns[0])
    for residues, weight in zip(columns, weights, strict=True):
        powers = powmod_base_list(residues, weight, modulus)
        total = [x * y % m for x, y in zip(total, powers, strict=True)]
    return _packed(total, modulus)


