"""One party of the joint key generation, as a protocol without input or output of its own.

`Party.run` is a generator: it yields the messages that it sends and is resumed with those that it
received, round by round, and returns its `KeyShare`. Nothing else leaves it.

Everything in one *attempt* (a batch of candidates and, where one is right, the key) follows from a
seed to which the party commits at its beginning. When the public values contradict each other and
nobody's message is to blame by itself, the attempt is given up, all parties reveal their seeds, and
`deviator` repeats what each of them should have sent.

| letter | meaning |
|---|---|
| i | this party |
| ℓ, t, Δ | parties, threshold, Δ = ℓ! |
| p_i, q_i | this party's parts of the primes: p = Σ p_i, q = Σ q_i |
| N, φ | N = pq, φ = (p − 1)(q − 1) |
| M, Q | the sieve's modulus; 4 times the odd primes up to ℓ |
| β, R, θ′ | secret masks; θ′ = NΔR + Δφβ is opened |
| f, s_i | the integer polynomial with f(0) = NΔR; the key share |

Sources: Boneh and Franklin, "Efficient Generation of Shared RSA Keys", J. ACM 48 (2001); the sieve
after Malkin, Wu, Boneh, "Experimenting with Shared Generation of RSA Keys", NDSS 1999; the shares
of βφ after Nishide and Sakurai, WISA 2010.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import gmpy2
from gmpy2 import mpz

from bdn.encoding import digest
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
    FAILURE_BITS,
    MULTIPLES,
    SALT_BYTES,
    TEST_ROUNDS,
    Broadcast,
    Commitment,
    Message,
    Parameters,
    Private,
    Public,
    Reveal,
)
from bdn.paillier.threshold import KeyShare
from bdn.paillier.vector.sampling import KeyStream
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
        self._source = rng  # of the seeds
        self._rng = rng  # of the current attempt
        self._M = mpz(parameters.sieve_modulus)
        self._Q = parameters.residue_modulus
        self._M_inverse = gmpy2.invert(self._M, self._Q)
        self._multiples = parameters.multiples
        self._candidate: tuple[mpz, mpz] = (mpz(0), mpz(0))  # its (p_i, q_i) of the chosen N
        self._seeds: list[tuple[bytes, ...]] = []  # everybody's commitments to their seeds
        self._heard: list[list[Broadcast]] = []  # what all said in this attempt, step by step

    def run(self) -> Steps:
        """Run the whole protocol: attempts until one makes a key.

        Raises `KeyGenerationError` when the parties deviate, or when more attempts fail than chance
        explains.
        """
        for _ in range(self.parameters.most_attempts):
            seed = self._source.bytes(SALT_BYTES)
            try:
                share = yield from self.attempt(seed)
            except KeyGenerationError as error:
                if error.parties:
                    raise
                raise (yield from self._explained(seed, error)) from error
            if share is not None:
                return Result(share)
        exhausted = KeyGenerationError(
            f"no key after {self.parameters.most_attempts} attempts; for honest parties that "
            f"happens with chance 2^-{FAILURE_BITS}")
        raise (yield from self._explained(seed, exhausted))

    def attempt(self, seed: bytes) -> Generator[list[Message], list[Message], KeyShare | None]:
        """Make one batch of candidates, and the key if one of them is right."""
        self._rng = KeyStream(digest("bdn/paillier/joint/attempt", seed))
        self._heard = []
        inbox = yield from self._exchange(
            [Commitment("attempt", self.index, (Reveal(self.index, seed).digest(),))])
        self._seeds = public.check_commitments(inbox, "attempt", self.parameters.parties, 1)
        N = yield from self._find_modulus()
        if N is None or not (yield from self._is_coprime(N)):
            return None
        share = yield from self._make_key(N)
        yield from self._trial(share)
        return share

    def _explained(
        self, seed: bytes, error: KeyGenerationError
    ) -> Generator[list[Message], list[Message], KeyGenerationError]:
        """The error with whom to blame, from everybody's seed; the attempt's secrets are burnt."""
        inbox = yield [Reveal(self.index, seed)]
        seeds = public.check_reveals(inbox, self._seeds)
        guilty = deviator(self.parameters, seeds, self._heard)
        if guilty is None:
            return error
        return KeyGenerationError(f"party {guilty} deviated: {error}", [guilty])

    # --- the primes' parts (distributed sieve) ---

    def _find_modulus(self) -> Generator[list[Message], list[Message], mpz | None]:
        """One batch of candidates; the first that passes every test, or None."""
        parts = yield from self._sieve(2 * BATCH)
        secrets = Secrets(parts[:BATCH], parts[BATCH:])
        moduli = yield from self._multiply(secrets)
        alive = public.without_small_factors(moduli)
        coins = public.coins_of((yield from self._coins("bases")))
        places = [moduli.index(N) for N in alive]
        passed = yield from self._test(alive, places, secrets, coins)
        for N in passed:
            at = moduli.index(N)
            if (yield from self._confirm(N, secrets.p[at], secrets.q[at], coins)):
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
        received = yield from self._privately(
            "sieve", lambda sender: [range(M)] * (count * (parameters.threshold - 1)
                                                  + count * (sender <= parameters.threshold)),
            held, zeros)
        factors, mask = self._sieve_shares(received, count)
        weight = weights_at_zero(parameters.parties, M)[self.index - 1]
        running = factors[0]
        for step, factor in enumerate(factors[1:]):
            if step:
                again = share(running, parameters.degree, parameters.parties, M, rng)
                received = yield from self._privately(
                    "reshare", lambda _: [range(M)] * count, again)
                running = sum_lists(received, M)
            masks = mask[step * count : (step + 1) * count]
            running = [(a * b + z) * weight % M
                       for a, b, z in zip(running, factor, masks, strict=True)]
        return [self._lift(part) for part in running]

    def _sieve_shares(
        self, received: Sequence[tuple[int, ...]], count: int
    ) -> tuple[list[list[mpz]], list[mpz]]:
        """Shares of each of the t units, and the sum of everybody's zero sharings."""
        threshold = self.parameters.threshold
        factors = [[mpz(value) for value in values[:count]] for values in received[:threshold]]
        zeros = [values[count:] if sender <= threshold else values
                 for sender, values in enumerate(received, 1)]
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
        received = yield from self._privately(
            "product", lambda _: [range(field)] * (3 * BATCH), held, self._zeros(BATCH, field))
        sums = sum_lists(received, field)
        points = [(p * q + z) % field for p, q, z in zip(
            sums[:BATCH], sums[BATCH : 2 * BATCH], sums[2 * BATCH :], strict=True)]
        heard = yield from self._broadcast("moduli", points, public.moduli_limits(parameters))
        return public.open_moduli(parameters, heard)

    def _test(
        self, alive: Sequence[mpz], places: Sequence[int], secrets: Secrets, coins: bytes
    ) -> Generator[list[Message], list[Message], list[mpz]]:
        """Those of the survivors that pass one base of the biprimality test."""
        powers = [self._powers(N, secrets.p[at], secrets.q[at],
                               [public.biprimality_base(N, 0, coins)])[0]
                  for N, at in zip(alive, places, strict=True)]
        heard = yield from self._broadcast(
            "test", powers, [range(1, int(N)) for N in alive], alive)
        return public.passing(alive, heard)

    def _confirm(
        self, N: mpz, p: mpz, q: mpz, coins: bytes
    ) -> Generator[list[Message], list[Message], bool]:
        """The biprimality test with further bases: a bad N survives with chance 2^−40."""
        bases = [public.biprimality_base(N, number, coins) for number in range(1, TEST_ROUNDS)]
        heard = yield from self._broadcast(
            "confirm", self._powers(N, p, q, bases), [range(1, int(N))] * len(bases),
            [N] * len(bases))
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
        self, round_name: str, modulus: int, minus: int
    ) -> Generator[list[Message], list[Message], bool]:
        """gcd(modulus, p + q − minus) = 1, seen from random multiples modulo ``modulus``.

        If it is 1, the multiples are uniform and tell nothing more.
        """
        parameters, count, modulus = self.parameters, MULTIPLES[round_name], int(modulus)
        p, q = self._candidate
        term = p + q - (minus if self.index == 1 else 0)
        own = [*uniform(count, modulus, self._rng), term]
        held = share(own, parameters.degree, parameters.parties, modulus, self._rng)
        received = yield from self._privately(
            round_name, lambda _: [range(modulus)] * (2 * count + 1), held,
            self._zeros(count, modulus))
        sums = sum_lists(received, modulus)
        points = [(r * sums[count] + zero) % modulus
                  for r, zero in zip(sums[:count], sums[count + 1 :], strict=True)]
        heard = yield from self._broadcast(round_name, points, [range(modulus)] * count)
        return public.is_coprime(modulus, heard)

    # --- the key ---

    def _make_key(self, N: mpz) -> Generator[list[Message], list[Message], KeyShare]:
        """Shares of −Δφβ over the integers, θ from one opening, and the verification keys."""
        parameters, rng = self.parameters, self._rng
        degree, parties, n = parameters.degree, parameters.parties, int(N)
        field = int(field_above(public.theta_field_bits(parameters, n)))
        p, q = self._candidate
        phi = (N + 1 if self.index == 1 else 0) - p - q
        held = share([phi % field, rng.below(n)], degree, parties, field, rng)
        mask = rng.below(public.mask_bound(parameters, n))
        delta = gmpy2.fac(parties)
        integers = share_integer(
            delta * mask, degree, parties, public.coefficient_bound(parameters, n), rng)
        limits = [range(field)] * 3 + [range(public.integer_share_bound(parameters, n))]
        received = yield from self._privately(
            "secret", lambda _: limits, held, self._zeros(1, field),
            [[share] for share in integers])
        phi_i, beta_i, zero, r_i = (
            sum(column, mpz(0)) for column in zip(*received, strict=True)
        )
        point = (delta * phi_i * beta_i + zero + N * r_i) % field
        heard = yield from self._broadcast("theta", [point], [range(field)])
        theta = public.open_theta(parameters, n, field, [values[0] for values in heard])
        coins = public.coins_of((yield from self._coins("coins")))
        v, _ = public.v_and_seed(n, coins)
        secret = int(N * r_i - theta)
        own = gmpy2.powmod(v, delta * secret, N * N)
        heard = yield from self._broadcast(
            "verification-key", [own], [range(1, n * n)], [N])
        key = public.assemble(parameters, n, int(theta), coins, [values[0] for values in heard])
        return KeyShare(key, self.index, secret)

    def _trial(self, share: KeyShare) -> Generator[list[Message], list[Message], None]:
        """Open a public ciphertext together: the key works, and every v_i fits its share."""
        c, _ = public.trial_ciphertext(share.public_key)
        part = share.partially_decrypt(c, public.TRIAL_SESSION, self._rng)
        heard = yield from self._broadcast(
            "trial", [part.value, part.proof.challenge, part.proof.response],
            public.trial_limits(share.public_key))
        public.check_trial(share.public_key, heard)

    # --- messages ---

    def _zeros(self, count: int, modulus: int) -> list[list[mpz]]:
        """Everybody's shares of ``count`` zeros, degree ℓ − 1."""
        parties = self.parameters.parties
        return share([0] * count, parties - 1, parties, modulus, self._rng)

    def _coins(
        self, round_name: str
    ) -> Generator[list[Message], list[Message], list[tuple[int, ...]]]:
        """Everybody's coins, drawn only now that what they must not depend on is fixed."""
        return (yield from self._broadcast(round_name, [self._rng.bits(256)], public.COINS))

    def _privately(
        self,
        round_name: str,
        limits: Callable[[int], Sequence[range]],
        *columns: list[list[mpz]],
    ) -> Generator[list[Message], list[Message], list[tuple[int, ...]]]:
        """Send each party (itself included) its items of the columns; return what it is sent.

        A commitment to all these messages goes to everybody.
        """
        parties = self.parameters.parties
        messages = [
            Private(round_name, self.index, receiver,
                    tuple(int(value) for column in columns for value in column[receiver - 1]))
            for receiver in range(1, parties + 1)
        ]
        digests = tuple(message.digest() for message in messages)
        inbox = yield from self._exchange(
            [Commitment(round_name, self.index, digests), *messages])
        commitments = public.check_commitments(
            [m for m in inbox if not isinstance(m, Private)], round_name, parties, parties)
        return public.check_private([m for m in inbox if isinstance(m, Private)], commitments,
                                    round_name, self.index, limits)

    def _broadcast(
        self,
        round_name: str,
        values: Sequence[int],
        limits: Sequence[range],
        units: Sequence[int] = (),
    ) -> Generator[list[Message], list[Message], list[tuple[int, ...]]]:
        """Commit to ``values``, then open them to all; return everybody's, by sender.

        Nobody sees another's values before being bound to its own.
        """
        message = Public(round_name, self.index, tuple(int(value) for value in values),
                         self._rng.bytes(SALT_BYTES))
        inbox = yield from self._exchange(
            [Commitment(round_name, self.index, (message.digest(),))])
        commitments = public.check_commitments(inbox, round_name, self.parameters.parties, 1)
        inbox = yield from self._exchange([message])
        return public.check_broadcast(inbox, commitments, round_name, limits, units)

    def _exchange(
        self, outbox: list[Message]
    ) -> Generator[list[Message], list[Message], list[Message]]:
        """Send and receive, and keep a record of what everybody heard."""
        inbox = yield outbox
        self._heard.append([message for message in inbox if not isinstance(message, Private)])
        return inbox


def deviator(
    parameters: Parameters, seeds: Sequence[bytes], heard: Sequence[Sequence[Broadcast]]
) -> int | None:
    """Return the first party whose broadcasts in an attempt do not follow from its seed.

    ``heard`` holds the broadcasts of the attempt, step by step. All parties are run again from
    their seeds; until the first difference every message was as the protocol has it, so whoever
    differs deviated. Commitments to private messages are compared as well. None where all follow.
    """
    parties = [Party(i, parameters, KeyStream(seed)) for i, seed in enumerate(seeds, 1)]
    steps = [party.attempt(seed) for party, seed in zip(parties, seeds, strict=True)]
    outboxes = [next(step) for step in steps]
    for at, said in enumerate(heard):
        sent = [message for outbox in outboxes for message in outbox]
        for i in range(1, parameters.parties + 1):
            if _spoken(sent, i) != _spoken(said, i):
                return i
        if at + 1 < len(heard):
            outboxes = [step.send(inbox_of(party.index, sent))
                        for party, step in zip(parties, steps, strict=True)]
    return None


def _spoken(messages: Sequence[Message], sender: int) -> list[Message]:
    """The broadcasts of ``sender``."""
    return [message for message in messages
            if message.sender == sender and not isinstance(message, Private)]


def inbox_of(index: int, sent: Sequence[Message]) -> list[Message]:
    """Return what reaches party ``index``: broadcasts, and private messages addressed to it."""
    return [message for message in sent
            if not isinstance(message, Private) or message.receiver == index]
