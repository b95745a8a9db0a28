"""Without a dealer: the protocol, its transcript, who knows what, and parties that deviate."""

import inspect
import math
from dataclasses import replace

import gmpy2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.paillier import combine, errors, generate_jointly
from bdn.paillier.joint import (
    Commitment,
    Parameters,
    Party,
    Private,
    Public,
    audit,
    run_parties,
)
from bdn.paillier.joint.arithmetic import (
    field_above,
    share,
    share_integer,
    value_at_zero,
    weights_at_zero,
)
from bdn.paillier.joint.party import inbox_of
from bdn.paillier.joint.public import (
    TRIAL_SESSION,
    biprimality_base,
    check_broadcast,
    check_trial,
    common_modulus,
    passes_test,
    trial_ciphertext,
)
from bdn.paillier.threshold import lagrange_at_zero
from bdn.randomness import SeededRandomness

PARAMETERS = Parameters(3, 2, 256)


def primes_of(parties):
    """p and q: only a test that looks into every party can add their parts up."""
    parts = [party._candidate for party in parties]
    return sum(int(p) for p, _ in parts), sum(int(q) for _, q in parts)


# --- the result ---------------------------------------------------------------------------------


def test_the_modulus_is_a_product_of_two_primes_of_full_length(joint):
    """N = pq, exactly 256 bits, p ≡ q ≡ 3 mod 4, gcd(N, φ(N)) = 1."""
    parties, shares, _ = joint
    key = shares[0].public_key
    p, q = primes_of(parties)
    assert p * q == key.N
    assert key.bits == 256
    assert gmpy2.is_prime(p, 40)
    assert gmpy2.is_prime(q, 40)
    assert p % 12 == q % 12 == 11  # as safe primes are
    assert math.gcd(key.N, (p - 1) * (q - 1)) == 1
    assert math.gcd(p - 1, q - 1) == 2


def test_the_shares_are_of_minus_delta_phi_beta_over_the_integers(joint):
    """Nishide–Sakurai: f(0) is a multiple of φ(N), and θ = f(0) mod N with its sign."""
    parties, shares, _ = joint
    key = shares[0].public_key
    p, q = primes_of(parties)
    for subset in ((1, 2), (1, 3), (2, 3)):
        weights = lagrange_at_zero(subset, 3)
        total = sum(w * shares[i - 1].secret for w, i in zip(weights, subset, strict=True))
        at_zero, rest = divmod(total, key.delta)
        assert rest == 0
        assert at_zero < 0
        assert at_zero % ((p - 1) * (q - 1)) == 0
        assert at_zero % key.N == key.theta


def test_any_t_shares_open(joint):
    _, shares, _ = joint
    key = shares[0].public_key
    for c, m in ((key.encrypt(-40) * 3, -120), (key.encrypt(7, r=5) - 8, -1)):
        for pair in ((0, 1), (0, 2), (2, 1)):
            parts = [shares[i].partially_decrypt(c, b"s") for i in pair]
            assert combine(key, c, parts, b"s") == m


@pytest.mark.parametrize(("parties", "threshold", "bits"), [(4, 2, 80), (5, 3, 96), (7, 4, 128)])
def test_other_numbers_of_parties(parties, threshold, bits):
    key, shares = generate_jointly(parties, threshold, bits, SeededRandomness(bits), threads=1)
    assert key.bits == bits
    assert (key.parties, key.threshold) == (parties, threshold)
    c = key.encrypt(11)
    parts = [share.partially_decrypt(c) for share in shares[-threshold:]]
    assert combine(key, c, parts) == 11


def test_generation_repeats_with_its_seed_and_tells_its_progress():
    told = []

    def progress(name, done, expected):
        told.append((name, done, expected))

    first = generate_jointly(3, 2, 64, SeededRandomness(5), progress)
    assert generate_jointly(3, 2, 64, SeededRandomness(5)) == first
    names = [name for name, _, _ in told]
    assert names[:5] == ["sieve", "product", "moduli", "bases", "test"]
    assert names[-5:] == ["secret", "theta", "coins", "verification-key", "trial"]
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


@pytest.mark.parametrize(("parties", "threshold", "bits"), [
    (2, 2, 256), (3, 1, 256), (4, 3, 256), (3, 2, 62), (3, 2, 101), (40, 2, 64),
])
def test_impossible_parameters_are_refused(parties, threshold, bits):
    """t ≥ 2 and ℓ ≥ 2t − 1."""
    with pytest.raises(errors.ParameterError):
        generate_jointly(parties, threshold, bits)


# --- who knows what -----------------------------------------------------------------------------


def integers_in(thing, seen=None):
    """Every integer that can be reached from ``thing`` through fields, items and generators."""
    seen = set() if seen is None else seen
    if id(thing) in seen or isinstance(thing, (str, bytes, type)) or inspect.ismodule(thing):
        return
    if isinstance(thing, int) or type(thing).__name__ == "mpz":
        yield int(thing)
        return
    seen.add(id(thing))
    inside = []
    if isinstance(thing, dict):
        inside = [*thing.keys(), *thing.values()]
    elif isinstance(thing, (list, tuple, set)):
        inside = list(thing)
    elif inspect.isgenerator(thing) and thing.gi_frame is not None:
        inside = [*thing.gi_frame.f_locals.values(), thing.gi_yieldfrom]
    else:
        inside = list(getattr(thing, "__dict__", {}).values())
        inside += [getattr(thing, name) for name in getattr(thing, "__slots__", ())
                   if hasattr(thing, name)]
    for item in inside:
        yield from integers_in(item, seen)


def test_no_object_ever_holds_p_q_phi_or_two_parties_secrets():
    """Stepped by hand: after every round, all that hangs on a party, and on the postman."""
    parties = [Party(i, Parameters(3, 2, 64), SeededRandomness(i + 20)) for i in (1, 2, 3)]
    steps = [party.run() for party in parties]
    states, everything, shares = [], [], []
    outboxes = [next(step) for step in steps]
    while not shares:
        held = [set(integers_in([party, step])) for party, step in zip(parties, steps, strict=True)]
        states.append(held)
        sent = [message for outbox in outboxes for message in outbox]
        everything.append(sent)
        try:
            outboxes = [
                step.send(inbox_of(i, sent)) for i, step in enumerate(steps, 1)
            ]
        except StopIteration as end:
            shares.append(end.value.share)
    p, q = primes_of(parties)
    N = shares[0].public_key.N
    assert p * q == N
    own = [{int(part) for part in party._candidate} for party in parties]
    forbidden = {p, q, (p - 1) * (q - 1), (p - 1) * (q - 1) // 4, p + q - 1, p + q,
                 math.lcm(p - 1, q - 1)}
    for held in states:
        for i, mine in enumerate(held):
            assert not mine & forbidden
            for j in range(3):
                if j != i:
                    assert not mine & own[j]
    assert any(own[0] <= held[0] for held in states)  # the walk does find what is there
    for sent in everything:
        for message in sent:
            values = () if isinstance(message, Commitment) else message.values
            assert not set(map(int, values)) & (forbidden | set().union(*own))


def test_messages_are_private_or_public_and_say_so(joint):
    """Only broadcasts, in steps in which everybody speaks once, and commits before it opens."""
    transcript = joint[2]
    names, before = [], None
    for k in range(0, len(transcript), 3):
        step = transcript[k : k + 3]
        assert [message.sender for message in step] == [1, 2, 3]
        (kind,), (name,) = {type(m) for m in step}, {m.round for m in step}
        if kind is Public:
            assert all(m.digests == (p.digest(),) for m, p in zip(before, step, strict=True))
            names.append(name)
        before = step if kind is Commitment else None
    assert names[-6:] == ["coprime", "common", "theta", "coins", "verification-key", "trial"]
    assert set(names[:-6]) <= {"moduli", "bases", "test", "confirm", "coprime", "common"}
    assert transcript[0].round == "attempt"


def test_a_public_transcript_can_be_audited(joint):
    """Everybody derives the same key from the broadcasts alone."""
    _, shares, transcript = joint
    assert audit(PARAMETERS, transcript) == shares[0].public_key


def reopened(transcript, at, values):
    """The transcript with other values at ``at``, and a commitment that fits them."""
    changed = list(transcript)
    changed[at] = replace(transcript[at], values=values)
    for k, message in enumerate(transcript[:at]):
        if isinstance(message, Commitment) and (
                message.sender, message.digests) == (3, (transcript[at].digest(),)):
            changed[k] = replace(message, digests=(changed[at].digest(),))
    return changed


@pytest.mark.parametrize("round_name", [
    "moduli", "bases", "test", "confirm", "coprime", "common", "theta", "coins",
    "verification-key", "trial"])
def test_a_changed_broadcast_is_found_or_leads_to_another_key(joint, round_name):
    _, shares, transcript = joint
    at = max(k for k, message in enumerate(transcript)
             if isinstance(message, Public) and message.round == round_name)
    values = tuple(value + 1 for value in transcript[at].values)
    changed = [*transcript[:at], replace(transcript[at], values=values), *transcript[at + 1 :]]
    with pytest.raises(errors.KeyGenerationError) as caught:
        audit(PARAMETERS, changed)  # its commitment was to other values
    assert caught.value.parties == (3,)
    try:
        key = audit(PARAMETERS, reopened(transcript, at, values))
    except errors.PaillierError:
        return
    unchanged = {"bases", "coprime", "common"}  # other coins, or multiples that share no factor
    assert round_name in unchanged or key != shares[0].public_key


@pytest.mark.parametrize(("name", "count"), [("coprime", 1), ("common", 8)])
def test_the_audit_repeats_the_tests_of_common_factors(joint, name, count):
    """Multiples of p + q − 1 (or p + q − 2) that share a factor: opened as 0, they are refused."""
    transcript = list(joint[2])
    for k, message in enumerate(transcript):
        if isinstance(message, Public) and message.round == name:
            transcript[k] = replace(message, values=(0,) * count)
            transcript[k - 3] = replace(transcript[k - 3], digests=(transcript[k].digest(),))
    with pytest.raises(errors.KeyGenerationError):
        audit(PARAMETERS, transcript)


def test_a_transcript_that_stops_early_is_no_key(joint):
    for end in (0, 3, len(joint[2]) - 6, len(joint[2]) - 1):
        with pytest.raises(errors.KeyGenerationError):
            audit(PARAMETERS, joint[2][:end])


def test_a_missing_or_misplaced_message_stops_a_party():
    """Shape, sender, round and commitment of every message are checked, and its sender named."""
    def outboxes():
        parties = [Party(i, Parameters(3, 2, 64), SeededRandomness(i)) for i in (1, 2, 3)]
        steps = [party.run() for party in parties]
        sent = [message for step in steps for message in next(step)]
        sent = [message for step in steps for message in step.send(sent)]
        return steps[0], inbox_of(1, sent)

    def private(inbox, sender, **changes):
        return [replace(m, **changes) if isinstance(m, Private) and m.sender == sender else m
                for m in inbox]

    step, inbox = outboxes()
    values = inbox[-1].values
    assert inbox[-1].sender == 3
    for at, (guilty, spoiled) in enumerate([
        (3, inbox[:-1]),
        (1, [*inbox, inbox[0]]),
        (2, private(inbox, 2, receiver=2)),
        (2, private(inbox, 2, round="secret")),
        (3, private(inbox, 3, values=values[1:])),
        (3, private(inbox, 3, values=(values[0] + 1, *values[1:]))),
        (3, private(inbox, 3, values=(-values[0], *values[1:]))),
        (3, private(inbox, 3, values=(values[0] + (1 << 20_000), *values[1:]))),
        (3, private(inbox, 3, values=(float(values[0]), *values[1:]))),
        (1, [Public("sieve", 1, ()), *inbox[1:]]),
        (1, [*inbox, Public("sieve", 1, ())]),
        (1, [replace(inbox[0], digests=()), *inbox[1:]]),
        (9, [*inbox, Public("sieve", 9, ())]),
    ]):
        step, _ = outboxes()
        with pytest.raises(errors.KeyGenerationError) as caught:
            step.send(spoiled)
        assert caught.value.parties == (guilty,), at
        assert len(str(caught.value)) < 200


def test_parties_that_end_with_different_keys_are_noticed(monkeypatch):
    def other_key(self, N):
        key = yield from original(self, N)
        if self.index == 2:
            return replace(key, public_key=replace(key.public_key, share_bits=999))
        return key

    original = Party._make_key
    monkeypatch.setattr(Party, "_make_key", other_key)
    monkeypatch.setattr(Party, "_trial", lambda *_: iter(()))
    parties = [Party(i, Parameters(3, 2, 64), SeededRandomness(i)) for i in (1, 2, 3)]
    with pytest.raises(errors.KeyGenerationError, match="different keys"):
        run_parties(parties)


@pytest.mark.parametrize(("p", "q", "good"), [
    (23, 11, False),   # 11 divides both N and p + q − 1 = 33
    (31, 71, False),   # gcd(30, 70) = 10
    (47, 59, True),
])
def test_parties_refuse_a_modulus_with_common_factors(p, q, good):
    """The rounds "coprime" and "common", stepped by hand with known primes."""
    parties = [Party(i, Parameters(3, 2, 64), SeededRandomness(i)) for i in (1, 2, 3)]
    for party, parts in zip(parties, ((p - 8, q - 4), (8, 0), (0, 4)), strict=True):
        party._candidate = (gmpy2.mpz(parts[0]), gmpy2.mpz(parts[1]))
    steps = [party._is_coprime(gmpy2.mpz(p * q)) for party in parties]
    verdicts = []
    sent = [message for step in steps for message in next(step)]
    while not verdicts:
        outbox = []
        for i, step in enumerate(steps, 1):
            try:
                outbox += step.send(inbox_of(i, sent))
            except StopIteration as end:
                verdicts.append(end.value)
        sent = outbox
    assert verdicts == [good] * 3


def test_a_key_that_opens_wrongly_fails_its_trial(joint):
    """With another θ all proofs hold and the plaintext is wrong: the trial finds it."""
    key = joint[1][0].public_key
    wrong = replace(key, theta=key.theta + 1)
    c, _ = trial_ciphertext(wrong)
    heard = []
    for own in joint[1]:
        part = replace(own, public_key=wrong).partially_decrypt(c, TRIAL_SESSION)
        heard.append((part.value, part.proof.challenge, part.proof.response))
    with pytest.raises(errors.KeyGenerationError, match="does not open"):
        check_trial(wrong, heard)


# --- parties that deviate -----------------------------------------------------------------------


class Liar(Party):
    """Party whose messages are changed by ``lie(message)``; its commitments fit what it sends."""

    def __init__(self, index, parameters, rng, lie):
        super().__init__(index, parameters, rng)
        self._lie = lie

    def _exchange(self, outbox):
        told = [self._lie(message) if isinstance(message, Private) else message
                for message in outbox]
        told = [self._fitting(message, told) for message in told]
        return (yield from super()._exchange(told))

    def _broadcast(self, round_name, values, limits, units=()):
        told = self._lie(Public(round_name, self.index, tuple(int(v) for v in values)))
        return (yield from super()._broadcast(round_name, told.values, limits, units))

    def _fitting(self, message, told):
        privates = [m for m in told if isinstance(m, Private)]
        if isinstance(message, Commitment) and privates:
            return replace(message, digests=tuple(m.digest() for m in privates))
        return message


def run_with(lie, liar=2, parameters=None):
    """Run with one liar among honest parties; returns what was raised and the broadcasts."""
    parameters = Parameters(3, 2, 64) if parameters is None else parameters
    members = [
        Liar(i, parameters, SeededRandomness(i), lie) if i == liar
        else Party(i, parameters, SeededRandomness(i))
        for i in range(1, parameters.parties + 1)
    ]
    steps = [member.run() for member in members]
    honest = [k for k in range(len(members)) if k != liar - 1]
    outboxes = [next(step) for step in steps]
    transcript = []
    for _ in range(10_000):
        sent = [message for outbox in outboxes for message in outbox]
        transcript += [message for message in sent if not isinstance(message, Private)]
        raised, ended, outboxes = [], 0, []
        for k, (member, step) in enumerate(zip(members, steps, strict=True)):
            try:
                outboxes.append(step.send(inbox_of(member.index, sent)))
            except StopIteration:
                ended += 1
            except errors.PaillierError as error:
                if k in honest:
                    raised.append(error)
        if raised:
            return raised, transcript
        if ended:
            return [], transcript
    raise AssertionError("this never ends")


def changed(round_name, change, kind=Public):
    """A lie: the values of one round's messages are changed."""
    def lie(message):
        if isinstance(message, kind) and message.round == round_name:
            return replace(message, values=tuple(change(list(message.values))))
        return message
    return lie


def bump(values):
    return [values[0] + 1, *values[1:]]


def negated(values):
    return [-value for value in values]


@pytest.mark.parametrize("liar", [1, 2, 3])
@pytest.mark.parametrize(("round_name", "change", "kind"), [
    ("sieve", negated, Private), ("product", negated, Private), ("secret", negated, Private),
    ("product", lambda v: [0] * (len(v) + 1), Private),
    ("moduli", lambda v: [1 << 20_000] * len(v), Public), ("moduli", negated, Public),
    ("moduli", lambda v: v[1:], Public), ("bases", lambda v: [1 << 300], Public),
    ("bases", lambda v: [-1], Public), ("test", lambda v: [0] * len(v), Public),
    ("test", lambda v: [1 << 300] * len(v), Public), ("theta", lambda v: [-1], Public),
    ("coins", lambda v: [1 << 300], Public), ("coins", lambda v: [-1], Public),
    ("verification-key", lambda v: [0], Public), ("trial", lambda v: [0, *v[1:]], Public),
    ("trial", lambda v: [*v[:2], 1 << 20_000], Public), ("trial", bump, Public),
    ("verification-key", bump, Public),
])
def test_whoever_sends_what_cannot_be_is_named(liar, round_name, change, kind):
    """Out of range, too few, no units, proofs that fail: one message tells who sent it."""
    raised, transcript = run_with(changed(round_name, change, kind), liar)
    assert len(raised) == 2
    for error in raised:
        assert isinstance(error, errors.KeyGenerationError)
        assert error.parties == (liar,)
        assert len(str(error)) < 300
    if kind is Public:
        with pytest.raises(errors.KeyGenerationError) as caught:
            audit(Parameters(3, 2, 64), transcript)
        assert caught.value.parties == (liar,)


@pytest.mark.parametrize("liar", [1, 2, 3])
@pytest.mark.parametrize(("round_name", "kind"), [
    ("product", Private), ("moduli", Public), ("secret", Private), ("theta", Public),
])
def test_whoever_sends_plausible_lies_is_named_once_the_seeds_are_revealed(
    liar, round_name, kind
):
    """Values in their ranges that spoil N, θ or the key: the attempt is repeated from its seeds."""
    parameters = Parameters(3, 2, 64)

    def shifted(values):
        return [(values[0] + 5) % parameters.product_field, *values[1:]]

    def lie(message):
        if isinstance(message, kind) and message.round == round_name and (
                kind is Public or message.receiver == 3):
            return replace(message, values=tuple(shifted(list(message.values))))
        return message

    raised, transcript = run_with(lie, liar)
    assert len(raised) == 2
    assert {error.parties for error in raised} == {(liar,)}
    with pytest.raises(errors.KeyGenerationError) as caught:
        audit(parameters, transcript)
    assert caught.value.parties == (liar,)


@pytest.mark.parametrize("liar", [1, 2, 3])
def test_a_lie_in_the_sieve_costs_candidates_or_is_noticed(liar):
    """The parts keep their length and residue; a factor of the sieve in a candidate is seen."""
    raised, transcript = run_with(changed("sieve", bump, Private), liar)
    assert {error.parties for error in raised} <= {(liar,)}
    if not raised:
        assert audit(Parameters(3, 2, 64), transcript).bits == 64


def test_a_power_that_shares_a_factor_with_its_modulus_is_refused():
    """Products of such powers are equal too easily, as zeros are."""
    said = [Public("test", i, (value, 1)) for i, value in ((1, 2), (2, 5), (3, 7))]
    commitments = [(message.digest(),) for message in said]
    limits, units = [range(1, 15), range(1, 77)], [15, 77]
    with pytest.raises(errors.KeyGenerationError) as caught:
        check_broadcast(said, commitments, "test", limits, units)
    assert caught.value.parties == (2,)
    assert check_broadcast(said, commitments, "test", limits) == [(2, 1), (5, 1), (7, 1)]


def test_whoever_sees_the_others_first_cannot_choose_n():
    """It waits for the others' points and sends the one that makes N = 1, or a known product."""
    parameters = Parameters(3, 2, 64)
    points = {}

    def last(message):
        if isinstance(message, Public) and message.round == "moduli" and message.sender == 3:
            field = parameters.product_field
            weights = weights_at_zero(3, field)
            rest = weights[0] * points[1][0] + weights[1] * points[2][0]
            mine = (1 - rest) * gmpy2.invert(weights[2], field) % field
            return replace(message, values=(int(mine), *message.values[1:]))
        return message

    members = [Party(i, parameters, SeededRandomness(i)) for i in (1, 2, 3)]
    steps = [member.run() for member in members]
    outboxes = [next(step) for step in steps]
    with pytest.raises(errors.KeyGenerationError) as caught:  # noqa: PT012 - the exchange itself
        while True:
            sent = [message for outbox in outboxes for message in outbox]
            points.update({m.sender: m.values for m in sent
                           if isinstance(m, Public) and m.round == "moduli"})
            sent = [last(message) for message in sent]
            outboxes = [step.send(inbox_of(i, sent)) for i, step in enumerate(steps, 1)]
    assert caught.value.parties == (3,)


def test_a_party_that_spoils_every_attempt_is_named_in_the_end():
    """Honest parties need few attempts: the number is bounded, and the last one is explained."""
    class Few(Parameters):
        @property
        def most_attempts(self):
            return 3

    spoil = changed("test", lambda v: [max(1, value - 1) for value in v])
    raised, _ = run_with(spoil, 1, Few(3, 2, 64))
    assert {error.parties for error in raised} == {(1,)}
    assert "3 attempts" in str(raised[0])


def test_a_party_that_reveals_another_seed_is_named():
    class Hider(Liar):
        def _explained(self, seed, error):
            return (yield from super()._explained(bytes(32), error))

    parameters = Parameters(3, 2, 64)
    lie = changed("moduli", lambda v: [(v[0] + 1) % 2**64, *v[1:]])
    members = [Party(1, parameters, SeededRandomness(1)),
               Hider(2, parameters, SeededRandomness(2), lie),
               Party(3, parameters, SeededRandomness(3))]
    with pytest.raises(errors.KeyGenerationError, match="another seed") as caught:
        run_parties(members, threads=1)
    assert caught.value.parties == (2,)


def test_honest_parties_rarely_need_as_many_attempts_as_they_are_given():
    for parties, needed, bits in ((3, 2, 64), (3, 2, 2048), (5, 3, 1024)):
        parameters = Parameters(parties, needed, bits)
        expected = parameters.expected_candidates / 128
        assert parameters.most_attempts >= 28
        assert 20 * expected < parameters.most_attempts < 200 * (1 + expected)


# --- the parts ----------------------------------------------------------------------------------


def test_every_candidate_is_coprime_to_the_sieve_and_of_full_length():
    """The distributed sieve does what it is for: no small factor, no bit too many or few."""
    parameters = Parameters(3, 2, 256)
    M = parameters.sieve_modulus
    sums = [0] * 8
    parties = [Party(i, parameters, SeededRandomness(i)) for i in (1, 2, 3)]
    steps = [party._sieve(8) for party in parties]
    sent = [message for step in steps for message in next(step)]
    for i, step in enumerate(steps, 1):
        with pytest.raises(StopIteration) as end:
            step.send(inbox_of(i, sent))
        for k, part in enumerate(end.value.value):
            sums[k] += int(part)
            assert part % 4 == (3 if i == 1 else 0)
    for p in sums:
        assert math.gcd(p, M) == 1
        assert p % 3 == 2
        assert parameters.prime_floor <= p < 2**128
    assert len(set(sums)) == 8
    assert M.bit_length() > 90


@given(st.integers(3, 6).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n - 1))),
       st.integers(-(10**9), 10**9))
def test_shamir_sharings_open_and_multiply(sizes, secret):
    """In a field, and over the integers: Lagrange at 0 gives the secret back."""
    parties, degree = sizes
    field = int(field_above(64))
    rng = SeededRandomness(parties)
    points = [row[0] for row in share([secret], degree, parties, field, rng)]
    assert value_at_zero(points, field) == secret % field
    if 2 * degree < parties:
        squares = [x * x for x in points]
        assert value_at_zero(squares, field) == secret**2 % field
    whole = share_integer(secret, degree, parties, 10**12, rng)
    indices = list(range(1, degree + 2))
    total = sum(w * int(whole[i - 1])
                for w, i in zip(lagrange_at_zero(indices, parties), indices, strict=True))
    assert total == math.factorial(parties) * secret


def test_fields_are_prime_and_large_enough():
    for bits in (10, 127, 2048, 4400, 40000):
        field = field_above(bits)
        assert field.bit_length() > bits
        assert bits > 5000 or gmpy2.is_prime(field, 5)
    with pytest.raises(errors.ParameterError):
        field_above(50000)


def test_the_biprimality_test_accepts_products_of_two_primes_only():
    """Boneh–Franklin with one base: 40 composites, each found out; primes pass."""
    def verdict(p, q, number):
        N = p * q
        g = biprimality_base(N, number)
        parts = [(p // 4 * 4 + 3, q // 4 * 4 + 3), (p % 4 - 3, q % 4 - 3)]
        first = pow(int(g), (N + 1 - sum(parts[0])) // 4, N)
        return passes_test(gmpy2.mpz(N), [gmpy2.mpz(first), gmpy2.powmod(g, sum(parts[1]) // 4, N)])

    primes = [p for p in range(10**6 + 3, 10**6 + 900, 4) if gmpy2.is_prime(p)]
    assert all(verdict(p, q, k) for p in primes[:4] for q in primes[4:8] for k in range(3))
    wrong = [n for n in range(10**6 + 3, 10**6 + 500, 4) if not gmpy2.is_prime(n)][:40]
    assert not any(all(verdict(p, primes[0], k) for k in range(40)) for p in wrong)


@pytest.mark.parametrize(("p", "q", "fits"), [
    (11, 23, True),      # gcd(10, 22) = 2
    (31, 71, False),     # gcd(30, 70) = 10
    (43, 71, False),     # gcd(42, 70) = 14
    (23, 31, True), (43, 107, True), (67, 23, False),
])
def test_an_odd_common_factor_of_p_minus_1_and_q_minus_1_is_found(p, q, fits):
    """gcd(p − 1, q − 1) = 2 exactly when p + q − 2 is coprime to the odd part of N − 1."""
    modulus = common_modulus(Parameters(3, 2, 64), p * q)
    assert (math.gcd(p - 1, q - 1) == 2) == fits
    assert (math.gcd(int(modulus), p + q - 2) == 1) == fits


def test_private_messages_name_their_receiver():
    message = Private("sieve", 1, 2, (3,))
    assert (message.sender, message.receiver) == (1, 2)
