"""Fig. 4, similarity: what can be rebuilt of one device's update from its ciphertexts.

Each attack gets a real update as its device sealed it and returns û, its best guess. The attacker
holds t − 1 key shares, one fewer than opening takes:

- *bytes read as values*: the sealed bytes, taken for fixed-point values;
- *masked part read as values*: the ring part's highest bits, where the message lies under its mask;
- *t − 1 shares, interpolated*: Lagrange through the shares that there are;
- *t − 1 shares and a guess*: the missing partial decryption replaced by a random power of c;
- *an opened sum's secrets, shared out*: after a sum of m updates was opened, S = Σ σ_k is known;
  the attacker takes S/m for the device's σ_k (`bdn.paillier.vector.ring_attack`).

Two controls show that the attacks could succeed: t shares, and the same attack on S against the
form in which the edge server applies the weights, which this project does not use.

| letter | meaning |
|---|---|
| N, L, Δ, θ, λ_i, c_i | as in `bdn.paillier.threshold` |
| σ_k, S, D | as in `bdn.paillier.vector.ring_masked` |
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import gmpy2
import numpy as np
from gmpy2 import mpz

from bdn.learning.types import Doubles
from bdn.learning.types import Floats as Updates
from bdn.paillier import KeyShare, PackedCipher, RingMaskedCipher, deal
from bdn.paillier.numbers import signed
from bdn.paillier.threshold import lagrange_at_zero
from bdn.paillier.vector import ring
from bdn.paillier.vector import ring_attack as attack_on_sums
from bdn.paillier.vector.fixedpoint import FixedPoint, Floats, Integers
from bdn.paillier.vector.sealed import SealedVector
from bdn.randomness import SeededRandomness

Cipher = RingMaskedCipher | PackedCipher

EDGE_WEIGHTS = (1372, 1373)
"""For the control: as in `bdn.paillier.vector.ring_attack`, with the paper's subset cut in two."""


@dataclass(frozen=True, slots=True)
class Target:
    """What an attacker has.

    Attributes:
        cipher: its public parameters.
        sealed: one device's sealed update.
        weight: the weight inside the message (1 where the contract applies it).
        shares: key shares: t − 1, or t for the control.
        rng: the attacker's coins.
    """

    cipher: Cipher
    sealed: SealedVector
    weight: int
    shares: Sequence[KeyShare]
    rng: np.random.Generator


# --- the attacks --------------------------------------------------------------------------------


def bytes_as_values(target: Target) -> Floats:
    """The sealed bytes, 16 bits a value, over and over until they reach."""
    data = target.sealed.ciphertexts + target.sealed.ring
    words = np.frombuffer(data[: len(data) // 2 * 2], dtype="<u2").astype(np.int64)
    return _values(target.cipher, np.resize(words, target.cipher.length))


def masked_as_values(target: Target) -> Floats:
    """The highest bits of each masked residue."""
    cipher = _ring(target)
    shift = np.uint64(cipher.parameters.q_bits - cipher.code.value_bits)
    return _values(cipher, (_masked(target) >> shift).astype(np.int64))


def combined(target: Target) -> Floats:
    """Combine the shares that there are, as if they were enough; with t of them they are."""
    values = {share.index: _partial(target, share) for share in target.shares}
    return _from_plaintexts(target, _combine(target, values))


def guessed_share(target: Target) -> Floats:
    """Combine them with a random power of c in the place of the missing one."""
    key = target.cipher.public_key
    values = {share.index: _partial(target, share) for share in target.shares}
    missing = next(i for i in range(1, key.parties + 1) if i not in values)
    exponent = int.from_bytes(target.rng.bytes(key.share_bits // 8), "little")
    values[missing] = [gmpy2.powmod(c, exponent, key.N2) for c in _ciphertexts(target)]
    return _from_plaintexts(target, _combine(target, values))


def shared_out(target: Target, opened: Integers, contributors: int) -> Floats:
    """S/m for the device's secret, ``opened`` being the S that ``contributors`` = m add up to."""
    return _unmasked(target, np.rint(opened / contributors).astype(np.int64))


def applied_by_edge(cipher: RingMaskedCipher, updates: Sequence[Updates], seed: int) -> Floats:
    """Control: û of the first of two updates, had the edge server applied `EDGE_WEIGHTS`."""
    found = attack_on_sums.attack(cipher, updates, EDGE_WEIGHTS, "edge", SeededRandomness(seed))
    return found.vectors[0]


def secret_of(target: Target) -> Integers:
    """σ_k itself, with t shares: for building the S that an opening shows."""
    values = {share.index: _partial(target, share) for share in target.shares}
    return _secret(_ring(target), _combine(target, values))


# --- how Paillier opens, without the check that stops a wrong set of shares ----------------------


def _ciphertexts(target: Target) -> list[mpz]:
    return target.cipher._ciphertexts(target.sealed)


def _partial(target: Target, share: KeyShare) -> list[mpz]:
    N2 = target.cipher.public_key.N2
    return [gmpy2.powmod(c, share.exponent, N2) for c in _ciphertexts(target)]


def _combine(target: Target, values: dict[int, list[mpz]]) -> list[int]:
    """L(∏ c_i^(2λ_i))·(4Δ²θ)⁻¹ mod N, whether or not N divides c′ − 1."""
    key = target.cipher.public_key
    N, N2 = mpz(key.N), mpz(key.N2)
    coefficients = lagrange_at_zero(list(values), key.parties)
    unmask = gmpy2.invert(4 * key.delta**2 * key.theta, N)
    opened = []
    for parts in zip(*values.values(), strict=True):
        product = mpz(1)
        for c_i, coefficient in zip(parts, coefficients, strict=True):
            product = product * gmpy2.powmod(c_i, 2 * coefficient, N2) % N2
        opened.append(int((product - 1) // N * unmask % N))
    return opened


def _from_plaintexts(target: Target, plaintexts: list[int]) -> Floats:
    cipher = target.cipher
    if isinstance(cipher, RingMaskedCipher):
        return _unmasked(target, _secret(cipher, plaintexts))
    return _values(cipher, _digits(plaintexts, cipher.slot_bits, cipher.slots, cipher.length))


def _secret(cipher: RingMaskedCipher, plaintexts: Sequence[int]) -> Integers:
    """σ as its slots hold it: signed, so that a plaintext may be negative."""
    half, slots = 1 << (cipher.slot_bits - 1), cipher.slots
    ones = ((1 << (cipher.slot_bits * slots)) - 1) // ((1 << cipher.slot_bits) - 1)
    shifted = [signed(M, cipher.public_key.N) + half * ones for M in plaintexts]
    return _digits(shifted, cipher.slot_bits, slots, cipher.parameters.N) - half


def _digits(plaintexts: Sequence[int], width: int, slots: int, length: int) -> Integers:
    """The slots of any plaintexts, honest or not; `unpack_slots` refuses the latter."""
    numbers: list[int] = []
    for plaintext in plaintexts:
        digits = gmpy2.unpack(mpz(plaintext) % (mpz(1) << (width * slots)), width)
        numbers += [int(digit) for digit in digits] + [0] * (slots - len(digits))
    return np.array(numbers[:length], dtype=np.int64)


def _unmasked(target: Target, secret: Integers) -> Floats:
    cipher = _ring(target)
    levels, _ = attack_on_sums.unmask(cipher, _masked(target), secret, target.weight)
    return cipher.code.to_values(levels)


def _masked(target: Target) -> ring.Residues:
    return ring.from_bytes(target.sealed.ring, _ring(target).parameters.value_bytes)


def _ring(target: Target) -> RingMaskedCipher:
    assert isinstance(target.cipher, RingMaskedCipher), "this attack is on the ring part"
    return target.cipher


def _values(cipher: Cipher, coded: Integers) -> Floats:
    """Offset-binary numbers of any size as values: their lowest v bits."""
    levels = coded % (2 * cipher.code.offset) - cipher.code.offset
    return cipher.code.to_values(levels)


# --- all of them --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Guess:
    """How good a reconstruction is: the index as it is, the cosine, and levels that are right."""

    index: float
    cosine: float
    exact: float

    @property
    def best(self) -> float:
        """The index after the factor that is best in hindsight: an upper bound for any scaling."""
        return 1 / (1 + max(0.0, 1 - self.cosine**2) ** 0.5)


def judge_guess(u: Updates, guess: Doubles, code: FixedPoint) -> Guess:
    """``guess`` beside the truth ``u``."""
    truth = u.astype(np.float64)
    size, length = float(np.linalg.norm(truth)), float(np.linalg.norm(guess))
    cosine = float(truth @ guess) / (size * length) if length else 0.0
    exact = np.rint(guess / code.step) == code.quantise(truth)
    return Guess(1 / (1 + float(np.linalg.norm(truth - guess)) / size), cosine,
                 float(np.mean(exact)))


def attack_all(
    updates: Sequence[Updates], weights: Sequence[int], key_bits: int, seed: int,
    packed_values: int,
) -> dict[tuple[str, str], Guess]:
    """(cipher, attack) → what it makes of the first device's update; others join its sums."""
    n, t = len(updates), 3
    public_key, shares = deal(n, t, key_bits, rng=SeededRandomness(seed))
    rng = np.random.default_rng(seed)
    total = max(sum(weights), sum(EDGE_WEIGHTS))
    masked = RingMaskedCipher(public_key, len(updates[0]), total_weight=total, contributors=n,
                              seed=bytes([seed % 256]))
    packed = PackedCipher(public_key, packed_values, total_weight=total)
    targets = [Target(masked, masked.seal(u, s_k), s_k, shares[:t], rng)
               for u, s_k in zip(updates, weights, strict=True)]
    one = replace(targets[0], shares=shares[:t - 1])
    slots = Target(packed, packed.seal(updates[0][:packed_values], weights[0]), 1,
                   shares[:t - 1], rng)
    found = {
        ("ring-masked", "masked part read as values"): masked_as_values(one),
        **{("ring-masked", name): attack(one) for name, attack in GUESSING.items()},
        **{("packed", name): attack(slots) for name, attack in GUESSING.items()},
        ("ring-masked", CONTROL): combined(targets[0]),
        ("packed", CONTROL): combined(replace(slots, shares=shares[:t])),
    }
    secrets = [secret_of(target) for target in targets]
    for m in sorted({2, n}):
        found["ring-masked", f"secrets of an opened sum of {m}, shared out"] = (
            shared_out(one, np.sum(secrets[:m], axis=0), m))
    found["weights applied by the edge (not ours)", "secrets of an opened sum of 2, solved"] = (
        applied_by_edge(masked, updates[:2], seed))
    return {name: judge_guess(updates[0][:len(guess)], guess,
                              (packed if len(guess) == packed_values else masked).code)
            for name, guess in found.items()}


CONTROL = "t shares (control)"
GUESSING = {
    "bytes read as values": bytes_as_values,
    "t − 1 shares, interpolated": combined,
    "t − 1 shares and a guess": guessed_share,
}
