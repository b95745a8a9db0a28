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
    Message,
    Parameters,
    Private,
    Public,
)
from bdn.paillier.joint.party import Party, Result, Steps
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
    """A key that nobody dealt: N = pq of exactly ``bits`` bits whose factors no party knows.

    For semi-honest parties, of whom up to t − 1 may collude; needs t ≥ 2 and ℓ ≥ 2t − 1. How many
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
) -> tuple[list[KeyShare], list[Public]]:
    """Carry messages until every party has its share; (shares, public transcript).

    Parties step at the same time in ``threads`` threads (all cores by default): their modular
    powers release Python's lock. Raises `KeyGenerationError` if they end with different keys.
    """
    expected = parties[0].parameters.expected_candidates
    transcript: list[Public] = []
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
            transcript += [message for message in sent if isinstance(message, Public)]
            inboxes = [_inbox(party.index, sent) for party in parties]
            if sent and sent[0].round == "moduli":
                candidates += BATCH
            if progress is not None and sent:
                progress(sent[0].round, candidates, expected)
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


def _inbox(index: int, sent: Sequence[Message]) -> list[Message]:
    """What reaches party ``index``: broadcasts, and private messages addressed to it."""
    return [message for message in sent
            if not isinstance(message, Private) or message.receiver == index]


# --- the auditor --------------------------------------------------------------------------------


LENGTHS = {"moduli": BATCH, "confirm": TEST_ROUNDS - 1, **MULTIPLES, "theta": 2,
           "verification-key": 1, "trial": 3}
"""How many values each party says in a round; in "test", one for every candidate still alive."""


def audit(parameters: Parameters, transcript: Sequence[Public]) -> PublicKey:
    """The public key that follows from the broadcasts alone; every public test is repeated.

    Raises `KeyGenerationError` when the transcript does not lead to a working key.
    """
    parties = parameters.parties
    candidate, alive = mpz(0), list[mpz]()
    opened: dict[str, list[tuple[int, ...]]] = {}
    for k in range(0, len(transcript), parties):
        name = transcript[k].round
        count = len(alive) if name == "test" else LENGTHS.get(name, -1)
        heard = public.values_of(transcript[k : k + parties], name, parties, count)
        opened[name] = heard
        if name == "moduli":
            alive = public.without_small_factors(public.open_moduli(parameters, heard))
        elif name == "test":
            alive = public.passing(alive, heard)
        elif name == "confirm" and alive:
            candidate = alive.pop(0)
            if len(public.passing([candidate] * count, heard)) != count:
                candidate = mpz(0)
        elif name in MULTIPLES and candidate:
            modulus = (candidate if name == "coprime"
                       else public.common_modulus(parameters, candidate))
            candidate = candidate if public.is_coprime(modulus, heard) else mpz(0)
    if not candidate or not {*MULTIPLES, "theta", "verification-key", "trial"} <= opened.keys():
        raise KeyGenerationError("the transcript ends before there is a key")
    N = int(candidate)
    field = field_above(public.theta_field_bits(parameters, N))
    theta = public.open_theta(parameters, N, field, [row[0] for row in opened["theta"]])
    key = public.assemble(parameters, N, int(theta), [row[1] for row in opened["theta"]],
                          [row[0] for row in opened["verification-key"]])
    public.check_trial(key, opened["trial"])
    return key
