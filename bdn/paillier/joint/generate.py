"""Driving the parties of a joint key generation in one process, and auditing what they said aloud.

`generate_jointly` is a postman: it carries messages between `Party` objects, keeps the broadcasts,
and looks into none of the private ones. Over sockets, each party would run in a process of its own
with the same code.

Letters: ℓ parties, t threshold, N the modulus.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from gmpy2 import mpz

from bdn.paillier.errors import KeyGenerationError
from bdn.paillier.joint import public
from bdn.paillier.joint.arithmetic import field_above
from bdn.paillier.joint.messages import (
    BATCH,
    MULTIPLES,
    TEST_ROUNDS,
    Broadcast,
    Commitment,
    Message,
    Parameters,
    Private,
)
from bdn.paillier.joint.party import Party, Result, Steps, deviator, inbox_of
from bdn.paillier.keys import PublicKey
from bdn.paillier.numbers import default_threads
from bdn.paillier.threshold import KeyShare
from bdn.randomness import Randomness, as_randomness

Progress = Callable[[str, int, float], None]
"""Called with (round, candidates so far, candidates expected) whenever a round ends."""


def generate_jointly(
    parties: int = 3,
    threshold: int = 2,
    bits: int = 2048,
    rng: Randomness | None = None,
    progress: Progress | None = None,
    threads: int | None = None,
) -> tuple[PublicKey, list[KeyShare]]:
    """Make a key that nobody dealt: N = pq of exactly ``bits`` bits; no party knows p or q.

    Up to t − 1 parties may collude; t ≥ 2 and ℓ ≥ 2t − 1 are needed. How many
    candidates it takes is chance: the time is distributed about exponentially, and ``progress``
    tells how far it got. Raises `ParameterError`, `KeyGenerationError`.
    """
    source = as_randomness(rng)
    parameters = Parameters(parties, threshold, bits)
    members = [Party(i, parameters, source.substream(f"party {i}"))
               for i in range(1, parties + 1)]
    shares, _ = run_parties(members, progress, threads)
    return shares[0].public_key, shares


def run_parties(
    parties: Sequence[Party], progress: Progress | None = None, threads: int | None = None
) -> tuple[list[KeyShare], list[Broadcast]]:
    """Carry messages until every party has its share; return (shares, public transcript).

    Parties step at the same time in ``threads`` threads (all cores by default): their modular
    powers release Python's lock. Raises `KeyGenerationError` if they end with different keys.
    """
    expected = parties[0].parameters.expected_candidates
    transcript: list[Broadcast] = []
    candidates = 0
    steps = [party.run() for party in parties]
    with ThreadPoolExecutor(threads or default_threads()) as pool:
        inboxes: list[list[Message] | None] = [None] * len(parties)
        while True:
            outcomes = list(pool.map(_step, steps, inboxes))
            results = [outcome.share for outcome in outcomes if isinstance(outcome, Result)]
            if results:
                break
            sent = [message for outcome in outcomes if not isinstance(outcome, Result)
                    for message in outcome]
            transcript += [message for message in sent if not isinstance(message, Private)]
            inboxes = [inbox_of(party.index, sent) for party in parties]
            if sent and not isinstance(sent[-1], Commitment):
                candidates += BATCH * (sent[-1].round == "moduli")
                if progress is not None:
                    progress(sent[-1].round, candidates, expected)
    if len(results) != len(parties) or len({share.public_key for share in results}) != 1:
        raise KeyGenerationError("the parties ended with different keys")
    return results, transcript


def _step(steps: Steps, inbox: list[Message] | None) -> list[Message] | Result:
    """Resume one party; its outbox, or what it ended with."""
    try:
        return next(steps) if inbox is None else steps.send(inbox)
    except StopIteration as end:
        result = end.value
        assert isinstance(result, Result)
        return result


# --- the auditor --------------------------------------------------------------------------------


def audit(parameters: Parameters, transcript: Sequence[Broadcast]) -> PublicKey:
    """Return the public key that follows from the broadcasts alone; every public test is repeated.

    Raises `KeyGenerationError` when the transcript does not lead to a working key. It names the
    parties that deviated, in an attempt that was given up from the seeds that they revealed.
    """
    reader = _Reader(parameters, transcript)
    for _ in range(parameters.most_attempts):
        reader.begin_attempt()
        try:
            key = _audited_attempt(parameters, reader)
        except KeyGenerationError as error:
            if error.parties or reader.at_end:
                raise
            seeds = public.check_reveals(reader.next_step(), reader.seeds)
            guilty = deviator(parameters, seeds, reader.heard[:-1])
            if guilty is None:
                raise
            raise KeyGenerationError(f"party {guilty} deviated: {error}", [guilty]) from error
        if key is not None:
            return key
    raise KeyGenerationError("the transcript has more attempts than honest parties need")


def _audited_attempt(parameters: Parameters, reader: "_Reader") -> PublicKey | None:
    """`Party.attempt`, as far as it is public."""
    for name in ("sieve", *["reshare"] * (parameters.threshold - 2), "product"):
        reader.private(name)
    moduli = public.open_moduli(
        parameters, reader.broadcast("moduli", public.moduli_limits(parameters)))
    alive = public.without_small_factors(moduli)
    reader.broadcast("bases", public.COINS)
    N = _audited_candidate(alive, reader)
    if N is None:
        return None
    for name, modulus in (("coprime", N), ("common", int(public.common_modulus(parameters, N)))):
        reader.private(name)
        heard = reader.broadcast(name, [range(modulus)] * MULTIPLES[name])
        if not public.is_coprime(mpz(modulus), heard):
            return None
    reader.private("secret")
    field = int(field_above(public.theta_field_bits(parameters, N)))
    points = [row[0] for row in reader.broadcast("theta", [range(field)])]
    theta = public.open_theta(parameters, N, field, points)
    coins = public.coins_of(reader.broadcast("coins", public.COINS))
    keys = [row[0] for row in reader.broadcast("verification-key", [range(1, N * N)], [N])]
    key = public.assemble(parameters, N, int(theta), coins, keys)
    public.check_trial(key, reader.broadcast("trial", public.trial_limits(key)))
    return key


def _audited_candidate(alive: Sequence[mpz], reader: "_Reader") -> int | None:
    """The first candidate that passes all bases of the biprimality test, or None."""
    limits = [range(1, int(N)) for N in alive]
    for N in public.passing(alive, reader.broadcast("test", limits, alive)):
        count = TEST_ROUNDS - 1
        heard = reader.broadcast("confirm", [range(1, int(N))] * count, [N] * count)
        if len(public.passing([N] * count, heard)) == count:
            return int(N)
    return None


class _Reader:
    """A transcript, read step by step: every step is one message of each party."""

    def __init__(self, parameters: Parameters, transcript: Sequence[Broadcast]) -> None:
        self._parties = parameters.parties
        self._transcript = transcript
        self._at = 0
        self.seeds: list[tuple[bytes, ...]] = []
        self.heard: list[list[Broadcast]] = []

    @property
    def at_end(self) -> bool:
        """Whether nothing follows."""
        return self._at >= len(self._transcript)

    def begin_attempt(self) -> None:
        """Read everybody's commitment to a seed."""
        self.heard = []
        self.seeds = self._commitments("attempt", 1)

    def private(self, round_name: str) -> None:
        """Read everybody's commitments to private messages."""
        self._commitments(round_name, self._parties)

    def broadcast(
        self, round_name: str, limits: Sequence[range], units: Sequence[int] = ()
    ) -> list[tuple[int, ...]]:
        """Read everybody's commitment and values, checked, by sender."""
        commitments = self._commitments(round_name, 1)
        return public.check_broadcast(self.next_step(), commitments, round_name, limits, units)

    def next_step(self) -> list[Broadcast]:
        """Read one message of each party; raises `KeyGenerationError` at the end."""
        step = list(self._transcript[self._at : self._at + self._parties])
        if not step:
            raise KeyGenerationError("the transcript ends before there is a key")
        self._at += self._parties
        self.heard.append(step)
        return step

    def _commitments(self, round_name: str, count: int) -> list[tuple[bytes, ...]]:
        return public.check_commitments(self.next_step(), round_name, self._parties, count)
