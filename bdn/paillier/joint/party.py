"""One party of the joint key generation, as a protocol without input or output of its own.

`Party.run` is a generator: it yields the messages that it sends and is resumed with those that it
received, round by round, and returns its `KeyShare`. Nothing else leaves it.

Letters: i this party, ℓ parties, t threshold, p = Σ p_i and q = Σ q_i, N = pq, φ = (p − 1)(q − 1),
M the sieve's modulus, Q the residue modulus, β and R secret masks, θ′ = NΔR + Δφβ, Δ = ℓ!, s_i the
key share, f the integer polynomial with f(0) = NΔR.

Sources: Boneh and Franklin, "Efficient Generation of Shared RSA Keys", J. ACM 48 (2001); the sieve
after Malkin, Wu, Boneh, "Experimenting with Shared Generation of RSA Keys", NDSS 1999; the shares
of βφ after Nishide and Sakurai, WISA 2010.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import gmpy2
from gmpy2 import mpz

from bdn.paillier.errors import KeyGenerationError
from bdn.paillier.joint import public
from bdn.paillier.joint.arithmetic import (
    field_above,
    share,
    share_integer,
    sum_lists,
    uniform,
    weights_at_zero,
)
from bdn.paillier.joint.messages import (
    BATCH,
    MULTIPLES,
    TEST_ROUNDS,
    Message,
    Parameters,
    Private,
    Public,
)
from bdn.paillier.threshold import KeyShare
from bdn.randomness import Randomness

Steps = Generator[list[Message], list[Message], "Result"]
"""Yields an outbox, is sent an inbox."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a party ends with: its share, in which the public key is."""

    share: KeyShare


@dataclass(frozen=True, slots=True)
class Secrets:
    """This party's own parts of the primes of a batch, by candidate."""

    p: list[mpz]
    q: list[mpz]


class Party:
    """Party ``index`` with its own randomness; it holds its own parts and nobody else's."""

    def __init__(self, index: int, parameters: Parameters, rng: Randomness) -> None:
        self.index = index
        self.parameters = parameters
        self._rng = rng
        self._M = mpz(parameters.sieve_modulus)
        self._Q = parameters.residue_modulus
        self._M_inverse = gmpy2.invert(self._M, self._Q)
        self._multiples = parameters.multiples
        self._candidate: tuple[mpz, mpz] = (mpz(0), mpz(0))  # its (p_i, q_i) of the chosen N

    def run(self) -> Steps:
        """The whole protocol: batches until one candidate is right, then the key."""
        while True:
            N = yield from self._find_modulus()
            if N is not None and (yield from self._is_coprime(N)):
                break
        share = yield from self._make_key(N)
        yield from self._trial(share)
        return Result(share)

    # --- the primes' parts (distributed sieve) ---

    def _find_modulus(self) -> Generator[list[Message], list[Message], mpz | None]:
        """One batch of candidates; the first that passes every test, or None."""
        parts = yield from self._sieve(2 * BATCH)
        secrets = Secrets(parts[:BATCH], parts[BATCH:])
        moduli = yield from self._multiply(secrets)
        alive = public.without_small_factors(moduli)
        passed = yield from self._test(alive, [moduli.index(N) for N in alive], secrets)
        for N in passed:
            at = moduli.index(N)
            if (yield from self._confirm(N, secrets.p[at], secrets.q[at])):
                self._candidate = secrets.p[at], secrets.q[at]
                return N
        return None

    def _sieve(self, count: int) -> Generator[list[Message], list[Message], list[mpz]]:
        """``count`` parts whose sum over the parties is coprime to every sieve prime.

        Parties 1 … t each draw a unit modulo M; the product of the units is made by BGW, degree
        t − 1, and ends as an additive sharing. Any t − 1 colluders lack one unit. Small integers
        of the right residue modulo Q lift each part to the length of a prime.
        """
        parameters, M, rng = self.parameters, self._M, self._rng
        units = [self._unit() for _ in range(count)] if self.index <= parameters.threshold else []
        held = share(units, parameters.degree, parameters.parties, M, rng)
        zeros = self._zeros(count * (parameters.threshold - 1), M)
        inbox = yield self._private("sieve", held, zeros)
        factors, mask = self._sieve_shares(inbox, count)
        weight = weights_at_zero(parameters.parties, M)[self.index - 1]
        running = factors[0]
        for step, factor in enumerate(factors[1:]):
            if step:
                again = share(running, parameters.degree, parameters.parties, M, rng)
                inbox = yield self._private("reshare", again)
                running = sum_lists(self._received(inbox, "reshare", count), M)
            masks = mask[step * count : (step + 1) * count]
            running = [(a * b + z) * weight % M
                       for a, b, z in zip(running, factor, masks, strict=True)]
        return [self._lift(part) for part in running]

    def _sieve_shares(
        self, inbox: Sequence[Message], count: int
    ) -> tuple[list[list[mpz]], list[mpz]]:
        """Shares of each of the t units, and the sum of everybody's zero sharings."""
        threshold = self.parameters.threshold
        factors: list[list[mpz]] = []
        zeros: list[tuple[int, ...]] = []
        for values in self._received(inbox, "sieve"):
            units = count if len(factors) < threshold else 0
            if len(values) != units + count * (threshold - 1):
                raise KeyGenerationError("round 'sieve': a message of the wrong length")
            if units:
                factors.append([mpz(value) for value in values[:count]])
            zeros.append(values[units:])
        return factors, sum_lists(zeros, self._M)

    def _unit(self) -> mpz:
        while True:
            value = uniform(1, self._M, self._rng)[0]
            if gmpy2.gcd(value, self._M) == 1:
                return value

    def _lift(self, part: mpz) -> mpz:
        """part + k·M with random k: ≡ −1 mod Q and above the floor for party 1, ≡ 0 for others."""
        target, lowest = 0, 0
        if self.index == 1:
            target, lowest = self._Q - 1, -(-self.parameters.prime_floor // self._M)
        k = (target - part - lowest * self._M) * self._M_inverse % self._Q
        k += lowest + self._Q * self._rng.below(self._multiples // self._Q)
        return part + k * self._M

    # --- N and its tests ---

    def _multiply(self, secrets: Secrets) -> Generator[list[Message], list[Message], list[mpz]]:
        """N = (Σ p_i)(Σ q_i) for a batch: shares of both, masked products, and opening."""
        parameters = self.parameters
        field = parameters.product_field
        held = share([*secrets.p, *secrets.q], parameters.degree, parameters.parties, field,
                     self._rng)
        inbox = yield self._private("product", held, self._zeros(BATCH, field))
        sums = sum_lists(self._received(inbox, "product", 3 * BATCH), field)
        points = [(p * q + z) % field for p, q, z in zip(
            sums[:BATCH], sums[BATCH : 2 * BATCH], sums[2 * BATCH :], strict=True)]
        heard = yield from self._broadcast("moduli", points)
        return public.open_moduli(parameters, heard)

    def _test(
        self, alive: Sequence[mpz], places: Sequence[int], secrets: Secrets
    ) -> Generator[list[Message], list[Message], list[mpz]]:
        """Those of the survivors that pass one base of the biprimality test."""
        powers = [self._powers(N, secrets.p[at], secrets.q[at], [public.biprimality_base(N, 0)])[0]
                  for N, at in zip(alive, places, strict=True)]
        heard = yield from self._broadcast("test", powers)
        return public.passing(alive, heard)

    def _confirm(
        self, N: mpz, p: mpz, q: mpz
    ) -> Generator[list[Message], list[Message], bool]:
        """The biprimality test with further bases: a bad N survives with chance 2^−40."""
        bases = [public.biprimality_base(N, number) for number in range(1, TEST_ROUNDS)]
        heard = yield from self._broadcast("confirm", self._powers(N, p, q, bases))
        return len(public.passing([N] * len(bases), heard)) == len(bases)

    def _powers(self, N: mpz, p: mpz, q: mpz, bases: list[mpz]) -> list[mpz]:
        """g^((N + 1 − p_1 − q_1)/4) for party 1, g^((p_i + q_i)/4) for the others.

        p_1 ≡ q_1 ≡ 3 and p_i ≡ q_i ≡ 0 modulo 4, so the divisions are exact. The list power
        releases Python's lock: parties that run in threads use every core.
        """
        exponent = (N + 1 - p - q) // 4 if self.index == 1 else (p + q) // 4
        return list(gmpy2.powmod_base_list(bases, exponent, N))

    def _is_coprime(self, N: mpz) -> Generator[list[Message], list[Message], bool]:
        """gcd(N, p + q − 1) = 1, so gcd(N, φ(N)) = 1 too; and gcd(p − 1, q − 1) = 2."""
        first = yield from self._opens_coprime("coprime", N, 1)
        if not first:
            return False
        modulus = public.common_modulus(self.parameters, N)
        return (yield from self._opens_coprime("common", modulus, 2))

    def _opens_coprime(
        self, round_name: str, modulus: mpz, minus: int
    ) -> Generator[list[Message], list[Message], bool]:
        """gcd(modulus, p + q − minus) = 1, seen from random multiples modulo ``modulus``.

        If it is 1, the multiples are uniform and tell nothing more.
        """
        parameters, count = self.parameters, MULTIPLES[round_name]
        p, q = self._candidate
        term = p + q - (minus if self.index == 1 else 0)
        own = [*uniform(count, modulus, self._rng), term]
        held = share(own, parameters.degree, parameters.parties, modulus, self._rng)
        inbox = yield self._private(round_name, held, self._zeros(count, modulus))
        sums = sum_lists(self._received(inbox, round_name, 2 * count + 1), modulus)
        points = [(r * sums[count] + zero) % modulus
                  for r, zero in zip(sums[:count], sums[count + 1 :], strict=True)]
        heard = yield from self._broadcast(round_name, points)
        return public.is_coprime(modulus, heard)

    # --- the key ---

    def _make_key(self, N: mpz) -> Generator[list[Message], list[Message], KeyShare]:
        """Shares of −Δφβ over the integers, θ from one opening, and the verification keys."""
        parameters, rng = self.parameters, self._rng
        degree, parties, n = parameters.degree, parameters.parties, int(N)
        field = field_above(public.theta_field_bits(parameters, n))
        p, q = self._candidate
        phi = (N + 1 if self.index == 1 else 0) - p - q
        held = share([phi % field, rng.below(n)], degree, parties, field, rng)
        mask = rng.below(public.mask_bound(parameters, n))
        delta = gmpy2.fac(parties)
        integers = share_integer(
            delta * mask, degree, parties, public.coefficient_bound(parameters, n), rng)
        inbox = yield self._private(
            "secret", held, self._zeros(1, field), [[share] for share in integers])
        phi_i, beta_i, zero, r_i = (
            sum(column, mpz(0)) for column in zip(*self._received(inbox, "secret", 4), strict=True)
        )
        point = (delta * phi_i * beta_i + zero + N * r_i) % field
        heard = yield from self._broadcast("theta", [point, rng.bits(256)])
        theta = public.open_theta(parameters, n, field, [values[0] for values in heard])
        coins = [values[1] for values in heard]
        v, _ = public.common_coins(n, coins)
        secret = int(N * r_i - theta)
        own = gmpy2.powmod(v, delta * secret, N * N)
        heard = yield from self._broadcast("verification-key", [own])
        key = public.assemble(parameters, n, int(theta), coins, [values[0] for values in heard])
        return KeyShare(key, self.index, secret)

    def _trial(self, share: KeyShare) -> Generator[list[Message], list[Message], None]:
        """Open a public ciphertext together: the key works, and every v_i fits its share."""
        c, _ = public.trial_ciphertext(share.public_key)
        part = share.partially_decrypt(c, public.TRIAL_SESSION, self._rng)
        heard = yield from self._broadcast(
            "trial", [part.value, part.proof.challenge, part.proof.response])
        public.check_trial(share.public_key, heard)

    # --- messages ---

    def _zeros(self, count: int, modulus: int) -> list[list[mpz]]:
        """Everybody's shares of ``count`` zeros, degree ℓ − 1."""
        parties = self.parameters.parties
        return share([0] * count, parties - 1, parties, modulus, self._rng)

    def _private(self, round_name: str, *columns: list[list[mpz]]) -> list[Message]:
        """One message to each party (itself included), the columns' lists joined."""
        return [
            Private(round_name, self.index, receiver,
                    tuple(value for column in columns for value in column[receiver - 1]))
            for receiver in range(1, self.parameters.parties + 1)
        ]

    def _received(
        self, inbox: Sequence[Message], round_name: str, count: int | None = None
    ) -> list[tuple[int, ...]]:
        """The values of this round's private messages by sender; raises `KeyGenerationError`."""
        mine = [message for message in inbox if isinstance(message, Private)
                and message.round == round_name and message.receiver == self.index]
        senders = sorted(message.sender for message in mine)
        if len(mine) != len(inbox) or senders != list(range(1, self.parameters.parties + 1)):
            raise KeyGenerationError(f"round {round_name!r}: messages of parties {senders}")
        values = [m.values for m in sorted(mine, key=lambda message: message.sender)]
        if count is not None and any(len(row) != count for row in values):
            raise KeyGenerationError(f"round {round_name!r}: a message of the wrong length")
        return values

    def _broadcast(
        self, round_name: str, values: Sequence[int]
    ) -> Generator[list[Message], list[Message], list[tuple[int, ...]]]:
        """Send ``values`` to all; return everybody's, by sender."""
        inbox = yield [Public(round_name, self.index, tuple(values))]
        heard = [message for message in inbox if isinstance(message, Public)]
        return public.values_of(heard, round_name, self.parameters.parties, len(values))

