"""The norm proof: honest provers pass, every mutation, replay and cheat that we know of fails."""

import dataclasses
import functools
import inspect
from dataclasses import dataclass

import numpy as np
import pytest
from gmpy2 import mpz
from hypothesis import given
from hypothesis import strategies as st

from bdn.errors import EncodingError
from bdn.paillier import deal
from bdn.paillier.errors import NormBoundError, NormProofError, ParameterError
from bdn.paillier.keys import PublicKey, djn_table
from bdn.paillier.norm_proof import (
    NormBound,
    NormProof,
    PackedStatement,
    RingStatement,
    proof_bytes,
    protocol,
    prove,
    verify,
    verify_together,
)
from bdn.paillier.norm_proof.commitments import CommitmentKey, commitment_key, four_squares
from bdn.paillier.norm_proof.statements import (
    packed_slot_bits,
    secret_bound2,
    secret_slot_bits,
)
from bdn.paillier.vector import ring
from bdn.paillier.vector.fixedpoint import slots_in
from bdn.paillier.vector.ring_masked import RingParameters
from bdn.paillier.vector.sampling import KeyStream, discrete_gaussian
from bdn.randomness import SeededRandomness

PARAMETERS = RingParameters(N=32, q_bits=40, D_bits=9, sigma=8.0, contributors=3)
BOUND = NormBound(entries=50, norm=2000, singles=(300,))
OFFSET = 1 << 15
WEIGHT = 7


@functools.cache
def key(seed: int = 1, bits: int = 512) -> PublicKey:
    """A dealer's public key."""
    return deal(parties=3, threshold=2, bits=bits, rng=SeededRandomness(seed))[0]


def levels_of_norm(bound: NormBound, norm: float, single: int = 120, seed: int = 0) -> np.ndarray:
    """Random signed levels whose first entries have at most ``norm`` and nearly that."""
    direction = np.random.default_rng(seed).normal(size=bound.entries)
    if bound.entries:
        direction *= norm / np.linalg.norm(direction)
    levels = np.trunc(direction).astype(np.int64)
    return np.append(levels, [single] * len(bound.singles)).astype(int)


@dataclass(frozen=True)
class Ring:
    """A ring-masked vector and all that its proof is about."""

    levels: np.ndarray
    parameters: RingParameters = PARAMETERS
    bound: NormBound = BOUND
    weight: int = WEIGHT
    offset: int = OFFSET
    seed: bytes = b"phase 1"
    context: bytes = b"device 1"
    public_key: PublicKey = None
    entropy: bytes = bytes(32)
    scale_secret: int = 1

    def __post_init__(self):
        object.__setattr__(self, "public_key", self.public_key or key())

    @functools.cached_property
    def stream(self):
        return KeyStream(self.entropy)

    @functools.cached_property
    def secret(self):
        """σ within its bound, times ``scale_secret``."""
        while True:
            secret = discrete_gaussian(self.parameters.sigma).sample(self.parameters.N, self.stream)
            if int(np.sum(secret**2)) <= secret_bound2(self.parameters):
                return secret * self.scale_secret

    @functools.cached_property
    def masked(self):
        """c = A σ + e + D·s·(δ + offset) modulo q."""
        p, n = self.parameters, self.bound.length
        polynomials = ring.public_cache(self.seed, p.N, p.q_bits, -(-n // p.N))
        masks = polynomials.times(self.secret).reshape(-1)[:n].astype(object)
        errors = discrete_gaussian(p.sigma).sample(n, self.stream)
        message = [int(level + self.offset) * self.weight << p.D_bits for level in self.levels]
        total = [(int(a) + int(e) + m) % (1 << p.q_bits)
                 for a, e, m in zip(masks, errors, message, strict=True)]
        return np.array(total, dtype=np.uint64)

    @functools.cached_property
    def plaintexts(self):
        width = secret_slot_bits(self.parameters)
        each = slots_in(self.public_key.bits, width)
        return [sum(mpz(int(x)) << (width * i) for i, x in enumerate(self.secret[at : at + each]))
                for at in range(0, self.parameters.N, each)]

    @functools.cached_property
    def nonces(self):
        return [self.stream.bits(self.public_key.nonce_bits) for _ in self.plaintexts]

    @functools.cached_property
    def ciphertexts(self):
        return encrypted(self.public_key, self.plaintexts, self.nonces)

    def arguments(self):
        """What the statement is made from."""
        return {
            "public_key": self.public_key, "parameters": self.parameters, "seed": self.seed,
            "bound": self.bound, "weight": self.weight, "offset": self.offset,
            "masked": self.masked, "ciphertexts": self.ciphertexts, "context": self.context,
        }

    def statement(self, **changes):
        """What is proven; ``changes`` replace single arguments, as a replay would."""
        return RingStatement(**{**self.arguments(), **changes})

    def witness(self, statement=None):
        return (statement or self.statement()).witness(self.secret, self.nonces)


@dataclass(frozen=True)
class Packed:
    """A packed vector and all that its proof is about."""

    levels: np.ndarray
    bound: NormBound = BOUND
    offset: int = OFFSET
    context: bytes = b"device 1"
    public_key: PublicKey = None
    entropy: bytes = bytes(32)
    least_bits: int = 100

    def __post_init__(self):
        object.__setattr__(self, "public_key", self.public_key or key())

    @functools.cached_property
    def slot_bits(self):
        return packed_slot_bits(self.public_key, self.bound, self.least_bits)

    @functools.cached_property
    def plaintexts(self):
        width, each = self.slot_bits, slots_in(self.public_key.bits, self.slot_bits)
        values = [int(level) + self.offset for level in self.levels]
        packed, alone = values[: self.bound.entries], values[self.bound.entries :]
        return [*(sum(mpz(x) << (width * i) for i, x in enumerate(packed[at : at + each]))
                  for at in range(0, len(packed), each)), *map(mpz, alone)]

    @functools.cached_property
    def nonces(self):
        stream = KeyStream(self.entropy)
        return [stream.bits(self.public_key.nonce_bits) for _ in self.plaintexts]

    @functools.cached_property
    def ciphertexts(self):
        return encrypted(self.public_key, self.plaintexts, self.nonces)

    def arguments(self):
        """What the statement is made from."""
        return {
            "public_key": self.public_key, "slot_bits": self.slot_bits, "bound": self.bound,
            "offset": self.offset, "ciphertexts": self.ciphertexts, "context": self.context,
        }

    def statement(self, **changes):
        """What is proven; ``changes`` replace single arguments, as a replay would."""
        return PackedStatement(**{**self.arguments(), **changes})

    def witness(self, statement=None):
        return (statement or self.statement()).witness(self.levels, self.nonces)


def encrypted(public_key, plaintexts, nonces):
    """(1 + N)^M·h^a for each pair."""
    table = djn_table(public_key)
    return [table.power(a, int(M % public_key.N)) for M, a in zip(plaintexts, nonces, strict=True)]


CASES = {"ring-masked": Ring, "packed": Packed}


@functools.cache
def honest(name: str, seed: int = 0, norm: float = 1900.0):
    """(case, proof) of an honest sealing."""
    case = CASES[name](levels_of_norm(BOUND, norm, seed=seed), entropy=bytes([seed]) * 32)
    return case, proof_of(case, seed)


def proof_of(case, seed: int = 0):
    """An honest prover's proof."""
    statement = case.statement()
    return prove(statement, case.witness(statement), SeededRandomness(seed))

BOTH = pytest.mark.parametrize("name", CASES)


def refuses(statement, proof, reason="proof"):
    """``proof`` does not hold for ``statement``, alone and together with a good one."""
    with pytest.raises(NormProofError, match=reason):
        verify(statement, proof)


# --- honest provers -----------------------------------------------------------------------------


@BOTH
def test_an_honest_proof_holds_and_travels(name):
    case, proof = honest(name)
    verify(case.statement(), proof)
    data = proof.to_bytes()
    assert NormProof.from_bytes(data) == proof
    assert abs(len(data) - proof_bytes(case.statement())) < 200


@given(
    name=st.sampled_from(sorted(CASES)), entries=st.integers(0, 70), norm=st.integers(1, 5000),
    single=st.none() | st.integers(1, 1 << 15), share=st.floats(0, 1), seed=st.integers(0, 99),
)
def test_vectors_of_all_shapes_within_their_bound_pass(name, entries, norm, single, share, seed):
    singles = (single,) if single is not None or not entries else ()
    singles = tuple(value or 1 for value in singles)
    bound = NormBound(entries, norm, singles)
    levels = levels_of_norm(bound, norm * share * 0.97, int(share * (single or 1)), seed)
    bound.check(levels)
    case = CASES[name](levels, bound=bound, entropy=bytes([seed]) * 32)
    verify(case.statement(), proof_of(case, seed))


@BOTH
def test_vectors_exactly_at_the_bound_pass(name):
    bound = NormBound(BOUND.entries, 2000, (300,))
    levels = np.zeros(bound.length, dtype=int)
    levels[[0, 7]] = 1200, 1600  # 2000² exactly
    levels[-1] = -300
    bound.check(levels)
    for seed in range(5):
        case = CASES[name](levels, bound=bound, entropy=bytes([seed]) * 32)
        verify(case.statement(), proof_of(case, seed))


def test_a_vector_beyond_its_bound_is_named_before_it_is_proven():
    levels = levels_of_norm(BOUND, 1990)
    levels[0] += 900
    with pytest.raises(NormBoundError, match=r"norm is 2.*at most 2000"):
        BOUND.check(levels)
    with pytest.raises(NormBoundError, match="entry is -301"):
        BOUND.check(levels_of_norm(BOUND, 100, single=-301))
    for wrong in ({"entries": -1}, {"norm": 0}, {"singles": (0,)}):
        with pytest.raises(ParameterError):
            dataclasses.replace(BOUND, **wrong)


@BOTH
def test_no_sealing_twice_as_long_as_the_bound_can_be_proven(name):
    for seed in range(3):
        case = CASES[name](levels_of_norm(BOUND, 4000, seed=seed), entropy=bytes([seed]) * 32)
        with pytest.raises(NormBoundError, match="rows exceed their bound"):
            proof_of(case)


# --- mutations ----------------------------------------------------------------------------------


NUMBERS = [field.name for field in dataclasses.fields(NormProof) if field.name != "responses"]


@BOTH
@pytest.mark.parametrize("field", NUMBERS)
def test_no_number_of_a_proof_can_be_changed(name, field):
    case, proof = honest(name)
    statement, value = case.statement(), getattr(proof, field)
    N = statement.public_key.N
    for other in {value + 1, value - 1, 0, -value - 1, value + N, value * N, 1 << 4000} - {value}:
        refuses(statement, dataclasses.replace(proof, **{field: other}))
    assert value == 0 or value > 1 << 60, "every number is full of randomness"


def test_the_fields_of_a_proof_are_all_changed_here():
    """A field that is added must be mutated, too: as a number, or response by response."""
    kinds = {field.name: field.type for field in dataclasses.fields(NormProof)}
    assert set(kinds) == {*NUMBERS, "responses"}
    proof = honest("ring-masked")[1]
    assert all(type(getattr(proof, name)) is int for name in NUMBERS)


def with_response(statement, proof, index, new):
    """``proof`` with ``new`` as its response at ``index``."""
    widths = [(length + 7) // 8 for length in protocol.Sizes.of(statement).responses]
    begin, end = sum(widths[:index]), sum(widths[: index + 1])
    data = proof.responses[:begin] + new.to_bytes(end - begin, "big") + proof.responses[end:]
    return dataclasses.replace(proof, responses=data)


@BOTH
def test_no_response_can_be_changed_for_the_equations_beside_the_commitment(name):
    """Every response, one at a time, by one; packed in wide slots, so that there are fewer."""
    case, proof = honest(name)
    if name == "packed":
        case = Packed(case.levels, least_bits=250)
        proof = proof_of(case)
    statement = case.statement()
    opened = protocol._read(statement, proof)
    protocol._verify_equations(statement, proof, opened)
    for index, old in enumerate(opened.zeta):
        zeta = (*opened.zeta[:index], old ^ 1, *opened.zeta[index + 1 :])
        with pytest.raises(NormProofError, match=r"does not hold|longer than the bound"):
            protocol._verify_equations(statement, proof, dataclasses.replace(opened, zeta=zeta))


@BOTH
def test_no_response_can_be_changed_for_the_commitment(name):
    """Every response, one at a time: Com(ζ) then differs by a power of one base."""
    case, proof = honest(name)
    statement, N = case.statement(), key().N
    opened = protocol._read(statement, proof)
    assert protocol._commitments_open(key(), [opened], [1])
    for change in ({"x": opened.x ^ 1}, {"opening": opened.opening ^ 1},
                   {"commitment": opened.commitment + 1},
                   {"mask_commitment": opened.mask_commitment + 1},
                   {"zeta": (opened.zeta[0] ^ 1, *opened.zeta[1:])},
                   {"zeta": (*opened.zeta[:-1], opened.zeta[-1] ^ 1)}):
        changed = dataclasses.replace(opened, **change)
        assert not protocol._commitments_open(key(), [changed], [1])
    bases = commitment_key(N, key().seed, len(opened.zeta)).G
    assert len(bases) == len(set(bases)) == len(opened.zeta)
    assert not {1, N - 1}.intersection(bases)


@BOTH
def test_no_response_can_be_changed(name):
    """One response of every block and one of its squares, by one, to zero, to the largest."""
    case, proof = honest(name)
    statement = case.statement()
    zeta, starts, at = protocol._read(statement, proof).zeta, [], 0
    for block in statement.blocks:
        starts += [at, at + block.count]
        at += block.count + protocol.SQUARES
    for index in starts:
        length = protocol.Sizes.of(statement).responses[index]
        for new in (int(zeta[index]) ^ 1, 0, (1 << length) - 1):
            refuses(statement, with_response(statement, proof, index, new))


@BOTH
def test_responses_of_another_form_are_refused(name):
    case, proof = honest(name)
    statement = case.statement()
    for data in (b"", proof.responses[:-1], proof.responses + b"\0",
                 b"\xff" * len(proof.responses)):
        refuses(statement, dataclasses.replace(proof, responses=data), "response")
    for data in (b"", proof.to_bytes() + b"\0", proof.to_bytes()[:-1]):
        with pytest.raises(EncodingError):
            NormProof.from_bytes(data)


@BOTH
def test_commitments_must_be_units(name):
    case, proof = honest(name)
    for field in ("commitment", "mask_commitment"):
        for value in (0, key().N, -1):
            refuses(case.statement(), dataclasses.replace(proof, **{field: value}), "no unit")
    for field in ("link", "cross", "constant"):
        refuses(case.statement(), dataclasses.replace(proof, **{field: key().N}), "no ciphertext")


# --- replays ------------------------------------------------------------------------------------


@functools.cache
def statement_of_other_device(name):
    return honest(name, seed=5)[0].statement()


@BOTH
def test_a_proof_holds_for_no_other_update_or_key(name):
    case, proof = honest(name)
    refuses(statement_of_other_device(name), proof)
    refuses(case.statement(public_key=key(seed=2)), proof)


ANOTHER = {
    "N": 2 * PARAMETERS.N,  # of a ring
    "verification_keys": tuple(reversed(key().verification_keys)),
    "threshold": 3,
}
"""Values of fields for which the next integer would be none."""


def others_in(record, field):
    """``record`` with another value of ``field``."""
    if field == "N" and isinstance(record, PublicKey):
        return  # tried above
    if field == "entries":  # of the same length: a single entry becomes one of many
        yield NormBound(record.entries + 1, record.norm, record.singles[1:])
        return
    for other in others_of(field, getattr(record, field)):
        yield dataclasses.replace(record, **{field: other})


def others_of(name, value):
    """Other values of an argument or field, each of which differs in one place."""
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from others_in(value, field.name)
    elif name in ANOTHER:
        yield ANOTHER[name]
    elif name == "ciphertexts":  # rerandomised: the plaintexts are the same
        for at, c in enumerate(value):
            yield [*value[:at], djn_table(key()).power(3, 0) * c % key().N2, *value[at + 1 :]]
    elif isinstance(value, np.ndarray):
        for at in range(len(value)):
            other = value.copy()
            other[at] ^= value.dtype.type(1)
            yield other
    elif isinstance(value, tuple):
        for at, part in enumerate(value):
            for other in others_of(name, part):
                yield (*value[:at], other, *value[at + 1 :])
    elif isinstance(value, bytes):
        yield value[:-1] + bytes([value[-1] ^ 1])
    else:
        assert isinstance(value, int | float)
        yield value + 1


@BOTH
def test_a_proof_holds_for_no_other_argument_of_its_statement(name):
    """Whatever a statement is made from is hashed: each argument, field, value and ciphertext."""
    case, proof = honest(name)
    arguments = case.arguments()
    assert set(arguments) == set(inspect.signature(type(case.statement())).parameters)
    roots = {case.statement().root()}
    for argument, value in arguments.items():
        for other in others_of(argument, value):
            statement = case.statement(**{argument: other})
            refuses(statement, proof)
            roots.add(statement.root())
    assert len(roots) > 20, "no two of them have the same root"
    assert len(roots) == 1 + sum(1 for argument, value in arguments.items()
                                 for _ in others_of(argument, value))


# --- cheating provers ---------------------------------------------------------------------------


def forced(case, change=lambda blocks: blocks, statement=None):
    """A proof by a prover who commits to ``change`` of its integers and fills up what it can."""
    statement = statement or case.statement()
    witness = case.witness(statement)
    rng, blocks = SeededRandomness(7), []
    for block, values in zip(statement.blocks, change([list(b) for b in witness.blocks]),
                             strict=True):
        rest = block.bound2 - sum(int(value) ** 2 for value in values)
        squares = four_squares(rest, rng) if rest >= 0 else [mpz(0)] * 4
        blocks.append([*map(mpz, values), *squares])
    return protocol.prove_integers(statement, blocks, witness.nonces, rng)


def rows_of(blocks):
    """The position of the projections among a statement's blocks."""
    return max(range(len(blocks)), key=lambda at: (len(blocks[at]) >= 256, -at))


@BOTH
@pytest.mark.parametrize("boost", [2, 10, 1000])
def test_a_boosted_update_with_its_true_rows_has_no_squares(name, boost):
    case = CASES[name](levels_of_norm(BOUND, 2000.0 * boost))
    refuses(case.statement(), forced(case), "longer than the bound")


@BOTH
@pytest.mark.parametrize("boost", [2, 10])
def test_a_boosted_update_with_the_rows_of_an_honest_one_is_refused(name, boost):
    case = CASES[name](levels_of_norm(BOUND, 1900.0 * boost))

    def smaller(blocks):
        at = rows_of(blocks)
        return [[value // boost for value in block] if k == at else block
                for k, block in enumerate(blocks)]

    refuses(case.statement(), forced(case, smaller), "does not hold for the")


@BOTH
def test_rows_of_the_provers_own_choice_are_refused(name):
    """The rows of another seed, for which this vector happens to be short."""
    case = CASES[name](levels_of_norm(BOUND, 4000))
    zeros = CASES[name](levels_of_norm(BOUND, 1))

    def other_rows(blocks):
        at = rows_of(blocks)
        return [list(block) if k == at else mine
                for k, (mine, block) in enumerate(zip(blocks, zeros.witness().blocks, strict=True))]

    refuses(case.statement(), forced(case, other_rows))


@BOTH
def test_a_single_entry_beyond_its_bound_is_refused(name):
    case = CASES[name](levels_of_norm(BOUND, 100, single=400))
    with pytest.raises(NormBoundError, match="entry"):
        proof_of(case)
    refuses(case.statement(), forced(case), "longer than the bound")
    denied = forced(case, lambda blocks: [*blocks[:-1], [blocks[-1][0] // 2]])
    refuses(case.statement(), denied, "does not hold for the")


@BOTH
def test_room_in_one_block_does_not_help_another(name):
    """‖w‖² of two blocks within the sum of their bounds, but not each within its own."""
    case = CASES[name](levels_of_norm(BOUND, 2200, single=1))
    statement = case.statement()
    witness = case.witness(statement)
    room = sum(block.bound2 - sum(int(v) ** 2 for v in values)
               for block, values in zip(statement.blocks, witness.blocks, strict=True))
    blocks = [[*map(mpz, values), *[mpz(0)] * 4] for values in witness.blocks]
    blocks[0][-4:] = four_squares(max(room, 0), SeededRandomness(3))
    proof = protocol.prove_integers(statement, blocks, witness.nonces, SeededRandomness(3))
    refuses(statement, proof)


@BOTH
def test_squares_that_fit_modulo_n_only_are_out_of_range(name):
    case = CASES[name](levels_of_norm(BOUND, 6000))
    statement, N = case.statement(), case.public_key.N
    witness, rng = case.witness(statement), SeededRandomness(5)
    blocks = [
        [*map(mpz, values), *four_squares((block.bound2 - sum(int(v) ** 2 for v in values)) % N,
                                          rng)]
        for block, values in zip(statement.blocks, witness.blocks, strict=True)
    ]
    wide = [dataclasses.replace(block, bound2=max(block.bound2, N)) for block in statement.blocks]
    with pytest.MonkeyPatch.context() as patch:
        sizes = protocol.Sizes.of(statement)
        longer = tuple(length + N.bit_length() for length in sizes.responses)
        patch.setattr(protocol.Sizes, "of", lambda _: dataclasses.replace(sizes, responses=longer))
        proof = protocol.prove_integers(statement, blocks, witness.nonces, rng)
    refuses(statement, proof, "number of responses")
    kept = b"".join(
        int.from_bytes(piece, "big").to_bytes(99, "big")[-((length + 7) // 8) :]
        for piece, length in zip(_pieces(proof.responses, longer), sizes.responses, strict=True))
    refuses(statement, dataclasses.replace(proof, responses=kept))
    assert wide


def _pieces(data, lengths):
    at = 0
    for length in lengths:
        yield data[at : at + (length + 7) // 8]
        at += (length + 7) // 8


@BOTH
def test_a_simulated_proof_misses_its_challenge(name):
    """Responses first, first messages computed from them for a guessed challenge: hashing tells."""
    case, proof = honest(name)
    statement, other = case.statement(), proof_of(case, seed=99)
    for field in ("mask_commitment", "link", "cross", "constant"):
        mixed = dataclasses.replace(proof, **{field: getattr(other, field)})
        refuses(statement, mixed)
    refuses(statement, dataclasses.replace(other, responses=proof.responses))


@BOTH
def test_rerandomised_encryptions_are_refused(name):
    """E_1·h and its nonce moved by x: the challenge was another."""
    case, proof = honest(name)
    h = djn_table(key()).power(1, 0)
    moved = dataclasses.replace(proof, cross=int(proof.cross * h % key().N2))
    refuses(case.statement(), moved)


def test_another_secret_under_paillier_than_in_the_ring_is_refused():
    case = Ring(levels_of_norm(BOUND, 1000))
    for excess in (1, 1 << 15, 1 << 300):
        plaintexts = [case.plaintexts[0] + excess, *case.plaintexts[1:]]
        ciphertexts = encrypted(key(), plaintexts, case.nonces)
        statement = case.statement(ciphertexts=ciphertexts)
        refuses(statement, prove(statement, case.witness(statement), SeededRandomness(1)),
                "ciphertexts")


def test_a_long_secret_is_refused():
    case = Ring(levels_of_norm(BOUND, 1000), scale_secret=20)
    with pytest.raises(NormBoundError, match="secret"):
        proof_of(case)
    refuses(case.statement(), forced(case))


def test_carries_cannot_hide_a_boost():
    """v is reduced modulo a smaller q, and the carries are moved to make up for it."""
    case = Ring(levels_of_norm(BOUND, 40_000))
    step = 1 << 20

    def moved(blocks):
        secret, rows, carries, *rest = blocks
        quotients = [round(value / step) for value in rows]
        return [secret, [v - step * k for v, k in zip(rows, quotients, strict=True)],
                [c + k for c, k in zip(carries, quotients, strict=False)] + carries[256:], *rest]

    refuses(case.statement(), forced(case, moved), "masked values")


def test_an_update_that_wraps_modulo_q_is_refused():
    for level in (1 << 29, (1 << 30) + 12345, (1 << 30) // 7):
        levels = levels_of_norm(BOUND, 1)
        levels[4] = level
        case = Ring(levels)
        with pytest.raises(NormBoundError, match="rows"):
            proof_of(case)
        refuses(case.statement(), forced(case))


def test_a_weight_above_the_declared_one_is_refused():
    """Sealed with three times the weight that the transaction names."""
    case = Ring(levels_of_norm(BOUND, 1900), weight=3 * WEIGHT)
    statement = case.statement(weight=WEIGHT)
    with pytest.raises(NormBoundError):
        prove(statement, case.witness(statement), SeededRandomness(1))
    refuses(statement, proof_of(case))


def test_an_overflowing_slot_is_refused_and_cannot_be_denied():
    clean = Packed(levels_of_norm(BOUND, 1000))
    for excess in (1 << clean.slot_bits, -(1 << clean.slot_bits), 3 << (clean.slot_bits - 1)):
        levels = clean.levels.astype(object)
        levels[5] += excess
        case = Packed(levels)
        statement = case.statement()
        denied = prove(statement, statement.witness(clean.levels, case.nonces), SeededRandomness(1))
        refuses(statement, denied, "ciphertexts")


def test_half_a_plaintext_is_refused():
    """M = pack(odd)/2 modulo N has short doubles; of y, y + M and y − M half can be short."""
    case = Packed(levels_of_norm(BOUND, 1000))
    N = key().N
    plaintexts = [(case.plaintexts[0] + 1) * pow(2, -1, N) % N, *case.plaintexts[1:]]
    statement = case.statement(ciphertexts=encrypted(key(), plaintexts, case.nonces))
    refuses(statement, prove(statement, case.witness(statement), SeededRandomness(1)),
            "ciphertexts")


def test_slots_behind_the_last_entry_are_bounded_too():
    case = Packed(levels_of_norm(BOUND, 1000), least_bits=110)
    last = len(case.plaintexts) - 2
    used = BOUND.entries - last * ((key().bits - 2) // case.slot_bits)
    assert 0 < used < (key().bits - 2) // case.slot_bits, "there is room behind the last entry"
    plaintexts = list(case.plaintexts)
    plaintexts[last] += 9000 << (used * case.slot_bits)
    statement = case.statement(ciphertexts=encrypted(key(), plaintexts, case.nonces))
    refuses(statement, prove(statement, case.witness(statement), SeededRandomness(1)),
            "ciphertexts")


@BOTH
def test_a_proof_without_a_secret_is_refused(name):
    """Every number zero or one."""
    case, proof = honest(name)
    blank = NormProof(1, 1, 1, 1, 1, 0, bytes(len(proof.responses)), 0, 0, 0)
    refuses(case.statement(), blank)


# --- several at once ----------------------------------------------------------------------------


@BOTH
def test_proofs_verified_together_name_the_bad_ones(name):
    pairs = [honest(name, seed) for seed in range(4)]
    statements, proofs = [case.statement() for case, _ in pairs], [proof for _, proof in pairs]
    verify_together(statements, proofs)
    verify_together([], [])
    proofs[1] = dataclasses.replace(proofs[1], opening=proofs[1].opening ^ 1)
    proofs[3] = dataclasses.replace(proofs[3], linear=1 - min(proofs[3].linear, 1))
    with pytest.raises(NormProofError) as caught:
        verify_together(statements, proofs)
    assert caught.value.positions == (1, 3)


@BOTH
def test_errors_in_two_commitments_do_not_cancel(name):
    """C_η of one proof times 2, of the other divided by 2: alone and together refused."""
    pairs = [honest(name, seed) for seed in range(2)]
    statements, N = [case.statement() for case, _ in pairs], key().N
    with pytest.MonkeyPatch.context() as patch:
        proofs = []
        for (case, _), factor in zip(pairs, (2, pow(2, -1, N)), strict=True):
            patch.setattr(CommitmentKey, "commit", _times(factor))
            proofs.append(proof_of(case))
            patch.undo()
    with pytest.raises(NormProofError) as caught:
        verify_together(statements, proofs)
    assert caught.value.positions == (0, 1)


def _times(factor):
    """`CommitmentKey.commit` whose second result, the masks' commitment, is off by ``factor``."""
    calls, commit = [], CommitmentKey.commit

    def wrong(self, w, r):
        calls.append(1)
        result = commit(self, w, r)
        return result * factor % self.N if len(calls) == 2 else result

    return wrong


@BOTH
def test_the_sign_of_a_commitment_is_free_alone_and_together(name):
    """−1 is a square root of one that everybody knows: it must not split the two ways to verify."""
    case, _ = honest(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CommitmentKey, "commit", _times(-1))
        proof = proof_of(case)
    other, good = honest(name, 1)
    verify(case.statement(), proof)
    verify_together([case.statement(), other.statement()], [proof, good])


# --- keys and parameters ------------------------------------------------------------------------


def test_short_keys_shorten_the_challenge_and_the_shortest_are_refused():
    for bits in (512, 256):
        public_key = key(seed=3, bits=bits)
        bound = NormBound(20, 100, (50,))
        case = Ring(levels_of_norm(bound, 90, single=3), bound=bound, public_key=public_key,
                    weight=2, parameters=dataclasses.replace(PARAMETERS, D_bits=9))
        assert protocol.challenge_bits(case.statement()) == 128 if bits == 512 else True
        verify(case.statement(), proof_of(case))
    short = key(seed=3, bits=128)
    with pytest.raises(ParameterError, match="too short"):
        protocol.Sizes.of(Ring(levels_of_norm(BOUND, 9), public_key=short).statement())


def test_bounds_outside_the_range_of_the_argument_are_refused():
    case = Ring(levels_of_norm(BOUND, 9))
    largest = int((1 << PARAMETERS.q_bits) / (5 * 2.46 * WEIGHT * 512))
    case.statement(bound=dataclasses.replace(BOUND, norm=largest - 100))
    for bound in (dataclasses.replace(BOUND, norm=largest + 1),
                  dataclasses.replace(BOUND, singles=(1 << 28,))):
        with pytest.raises(ParameterError, match="too large for q"):
            case.statement(bound=bound)
    packed = Packed(levels_of_norm(BOUND, 9))
    narrow = packed_slot_bits(key(), BOUND, 1) - 1
    with pytest.raises(ParameterError, match="slots"):
        packed.statement(slot_bits=narrow)


def test_proofs_under_different_keys_are_not_mixed():
    (case, proof), other = honest("packed"), Packed(levels_of_norm(BOUND, 9), public_key=key(2))
    with pytest.raises(ParameterError, match="different keys"):
        verify_together([case.statement(), other.statement()], [proof, proof])


def test_the_standard_parameters_leave_room_for_the_whole_challenge():
    """2048 bits, the paper's model: the sizes alone, without a proof."""
    bound = NormBound(252_398, 100_000, (32_767,))

    class Sized(protocol.Statement):
        public_key, ciphertexts, power_bits = _fake_key(2048), [mpz(1)] * 14, 128
        blocks = Ring(levels_of_norm(BOUND, 9)).statement().blocks

        def root(self):
            return b""

        def relation(self, seed):
            raise NotImplementedError

    assert protocol.challenge_bits(Sized()) == 128
    assert bound.rows == 257


def _fake_key(bits):
    @dataclasses.dataclass
    class Key:
        bits: int
        nonce_bits: int

    return Key(bits, bits // 2)
