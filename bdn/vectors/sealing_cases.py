"""Cases on Paillier and both vector ciphers: proofs good and bad, openings from every subset."""

import functools
import itertools
from typing import Any

from gmpy2 import mpz

from bdn.encoding import decode, encode
from bdn.paillier import KeyShare, PublicKey, deal
from bdn.paillier.batch import encrypt_many
from bdn.paillier.keys import pack_values
from bdn.randomness import SeededRandomness
from bdn.vectors.basic_cases import Given, bytes_of
from bdn.vectors.operations import OPERATIONS, leaves_of_sealed, leaves_of_sum
from bdn.vectors.vector_set import CaseFile

BITS = 256
"""Of the keys: toys, so that the files stay short."""


@functools.cache
def toy_key(name: str = "key") -> tuple[PublicKey, list[KeyShare]]:
    """Return a key of which 2 of 3 parties open."""
    return deal(3, 2, BITS, SeededRandomness(name.encode()))


def _fields_changed(record: str) -> dict[str, str]:
    """Return the record once for each integer in it, with that one changed by 1."""
    fields = decode(bytes.fromhex(record))
    found = {}
    for path in _integers(fields):
        again = decode(bytes.fromhex(record))
        place = again
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] += 1
        found[".".join(map(str, path))] = encode(again).hex()
    return found


def _integers(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if type(value) is int:
        return [path]
    pairs = value.items() if isinstance(value, dict) else (
        enumerate(value) if isinstance(value, list) else ())
    return [found for key, item in pairs for found in _integers(item, (*path, key))]


def paillier() -> CaseFile:
    """Return encryptions, proofs, shares and openings under a toy key."""
    key, shares = toy_key()
    made = CaseFile("paillier", "Section 11: a key of 256 bits of which 2 of 3 parties open, with "
                    "encryptions for given nonces, plaintext proofs and shares with each field "
                    "changed, and openings from every subset. secrets holds s_i in decimal.",
                    OPERATIONS)
    other = toy_key("other")[0]
    made.constants = {"key": key.to_bytes().hex(), "other": other.to_bytes().hex(),
                      "secrets": [str(share.secret) for share in shares]}
    made.add("key", "paillier_key", key="@key")
    made.add("another key", "paillier_key", key="@other")
    fields = decode(key.to_bytes())
    bad: dict[str, Given] = {
        "N even": {"N": key.N + 1}, "N prime": {"N": (1 << 127) - 1}, "θ zero": {"theta": 0},
        "short seed": {"seed": bytes(31)}, "v = 1": {"v": 1}, "v = N": {"v": key.N},
        "threshold 0": {"threshold": 0}, "threshold 4": {"threshold": 4},
        "keys of two secrets": {"verification_keys": fields["verification_keys"][::-1]},
        "a short bound on shares": {"share_bits": 100}, "no keys": {"verification_keys": []}}
    for what, change in bad.items():
        made.add(f"key: {what}", "paillier_key", valid=False,
                 key=encode({**fields, **change}).hex())
    made.add("joint base", "joint_base", modulus=str(key.N), coins=bytes_of("coins").hex())
    _encryptions(made, key)
    _contents(made, key)
    _openings(made, key, shares)
    return made


def _encryptions(made: CaseFile, key: PublicKey) -> None:
    r, a = int.from_bytes(bytes_of("r", 31), "big"), int.from_bytes(bytes_of("a", 16), "big")
    for M in (0, 1, -1, 12345, key.N // 2, -(key.N // 2)):
        value = made.add(f"encrypt {M.bit_length()} bits", "encrypt", key="@key", plaintext=str(M),
                         r=str(r))
        made.add(f"encrypt {M.bit_length()} bits fast", "encrypt_fast", key="@key",
                 plaintext=str(M), a=str(a))
    made.add("a ciphertext", "ciphertext", key="@key", value=value)
    made.refuse("encrypt", "encrypt", {"key": "@key", "plaintext": "1", "r": str(r)}, {
        "a plaintext beyond N/2": {"plaintext": str(key.N // 2 + 1)}, "r = N": {"r": str(key.N)}})
    width = key.width
    made.refuse("ciphertext", "ciphertext", {"key": "@key", "value": value}, {
        "0": {"value": "00" * width}, "N": {"value": key.N.to_bytes(width, "big").hex()},
        "N²": {"value": key.N2.to_bytes(width, "big").hex()}, "a byte less": {"value": value[2:]}})


def _contents(made: CaseFile, key: PublicKey) -> None:
    plaintexts = [5, key.N - 7, 1 << 100]
    ciphertexts, nonces = encrypt_many(key, plaintexts, SeededRandomness(b"contents"))
    packed = pack_values(key, ciphertexts).hex()
    given: Given = {"key": "@key", "ciphertexts": packed, "context": bytes_of("context").hex()}
    proof = made.add("prove contents", "prove_plaintexts", plaintexts=list(map(str, plaintexts)),
                     nonces=list(map(str, nonces)), randomness=bytes_of("proof", 400).hex(),
                     **given)
    made.add("verify contents", "verify_plaintexts", proof=proof, **given)
    swapped = pack_values(key, [ciphertexts[1], ciphertexts[0], ciphertexts[2]]).hex()
    made.refuse("verify contents", "verify_plaintexts", {"proof": proof, **given}, {
        **{f"{field} + 1": {"proof": other} for field, other in _fields_changed(proof).items()},
        "another context": {"context": "00"}, "another key": {"key": "@other"},
        "ciphertexts swapped": {"ciphertexts": swapped},
        "a ciphertext less": {"ciphertexts": packed[:-2 * key.width]},
        "a byte more": {"proof": proof + "00"}})


def _openings(made: CaseFile, key: PublicKey, shares: list[KeyShare]) -> None:
    plaintexts = [5, key.N - 7]
    ciphertexts, _ = encrypt_many(key, plaintexts, SeededRandomness(b"openings"))
    given: Given = {"key": "@key", "ciphertexts": pack_values(key, ciphertexts).hex(),
                    "session": bytes_of("session").hex()}
    parts = [made.add(f"part of {share.index}", "partial_vector", index=share.index,
                      secret=str(share.secret), randomness=bytes_of(f"part {i}", 200).hex(),
                      **given) for i, share in enumerate(shares)]
    for count in range(4):
        for subset in itertools.combinations(range(3), count):
            made.add(f"open with {[i + 1 for i in subset]}", "open", valid=count >= 2,
                     parts=[parts[i] for i in subset], **given)
    made.add("a bad share among three", "open", parts=[
        parts[0], _fields_changed(parts[1])["proof.response"], parts[2]], **given)
    record = decode(bytes.fromhex(parts[1]))
    record["values"] = pack_values(key, [mpz(v) + 1 for v in ciphertexts])
    labels: dict[str, Given] = {}
    for field in ("key", "ciphertexts", "session"):
        label = decode(bytes.fromhex(parts[1]))
        label["label"][field] = bytes(32)
        labels[f"another {field} in the label"] = {"parts": [parts[0], encode(label).hex()]}
    made.refuse("open with [1, 2]", "open", {"parts": parts[:2], **given}, {
        **{f"{field} + 1": {"parts": [parts[0], other]}
           for field, other in _fields_changed(parts[1]).items()},
        "other values": {"parts": [parts[0], encode(record).hex()]},
        "one twice": {"parts": [parts[0], parts[0]]}, "another session": {"session": "00"},
        "another key": {"key": "@other"}, **labels})


# --- the vector ciphers -------------------------------------------------------------------------

VECTORS = ([0.5, -1.0, 0.001, 2.0], [0.25, 0.0, -0.3, 1.5], [-1.0, 1.0, 0.7, 8.0])
WEIGHTS = (3, 5, 7)


def _ciphers(name: str, bound: float | None) -> CaseFile:
    """Three sealed vectors, their sum, and its opening."""
    key, shares = toy_key()
    title = name if bound is None else f"{name}_bounded"
    made = CaseFile(title.replace("-", "_"), f"Sections 13 to 15: the {name} cipher"
                    + ("" if bound is None else " with norm proofs") + ", under a toy key of 256 "
                    "bits: sealed vectors for given entropy, bytes changed in every leaf's kind, "
                    "their sum, shares and the opening.", OPERATIONS)
    spec: dict[str, Any] = {
        "name": name, "seed": bytes_of("seed").hex(), "length": 4, "clip": [1.0, 1.0, 1.0, 8.0],
        "value_bits": 12, "total_weight": 20, "contributors": 3}
    if bound is not None:
        spec |= {"norm_bound": bound, "largest_bound": 2 * bound, "singles": 1}
    made.constants = {"key": key.to_bytes().hex(), "cipher": spec, "other":
                      toy_key("other")[0].to_bytes().hex(),
                      "secrets": [str(share.secret) for share in shares]}
    common: Given = {"key": "@key", "cipher": "@cipher"}
    count = 3 if bound is None else 1  # norm proofs are long
    for i, vector in enumerate(VECTORS[:count]):
        levels = made.add(f"levels {i}", "quantise", vector=vector, **common)
        context = bytes_of(f"context {i}").hex()
        entropy = bytes_of(f"entropy {i}").hex()
        made.constants[f"sealed {i}"] = [leaf.hex() for leaf in leaves_of_sealed(
            key.to_bytes().hex(), spec, levels, WEIGHTS[i], context, entropy)]
        if bound is None:  # the prover of a norm proof is free in its choice of squares
            made.add(f"seal {i}", "seal_vector", levels=levels, weight=WEIGHTS[i], context=context,
                     entropy=entropy, **common)
        made.add(f"verify {i}", "verify_vector", leaves=f"@sealed {i}", weight=WEIGHTS[i],
                 context=context, **common)
    made.refuse("levels", "quantise", {"vector": VECTORS[0], **common}, {
        "beyond the clip": {"vector": [1.01, 0.0, 0.0, 0.0]},
        "too short": {"vector": [0.0]}, "loss beyond its clip": {"vector": [0.0, 0.0, 0.0, -8.1]}})
    _changed_leaves(made, common, bound is not None)
    _sum(made, common, shares, count)
    return made


def _changed_leaves(made: CaseFile, common: Given, bounded: bool) -> None:
    leaves = made.constants["sealed 0"]
    given = {"leaves": "@sealed 0", "weight": WEIGHTS[0], "context": bytes_of("context 0").hex(),
             **common}
    last = len(leaves) - 1
    size = len(leaves[last]) // 2
    places = [(0, 0, 128), (0, -1, 1), (last, 8, 1), (last, 30, 1), (last, 34, 1), (last, -1, 1),
              (last, size // 2, 1), (last, size // 3, 4)]
    if bounded:
        places += [(last, size * part // 10, 2) for part in range(2, 10)]
    if last > 1:
        places += [(last - 1, 0, 1), (last // 2, 5, 16)]
    made.refuse("verify 0", "verify_vector", given, {
        **{f"leaf {leaf}, byte {at}, mask {mask}": {"change": ["byte", leaf, at, mask]}
           for leaf, at, mask in places},
        "another context": {"context": "00"},
        "a leaf less": {"change": ["drop", 0]}, "no tail": {"change": ["drop", last]},
        "leaves swapped": {"change": ["swap", 0, last]}, "another key": {"key": "@other"},
        "another width": {"cipher": {**made.constants["cipher"], "value_bits": 13}}})


def _sum(made: CaseFile, common: Given, shares: list[KeyShare], count: int) -> None:
    vectors = [f"@sealed {i}" for i in range(count)]
    made.constants["sum"] = [leaf.hex() for leaf in leaves_of_sum(
        made.constants["key"], made.constants["cipher"],
        [made.constants[f"sealed {i}"] for i in range(count)], WEIGHTS[:count])]
    made.add("sum", "add_vectors", vectors=vectors, weights=list(WEIGHTS[:count]), **common)
    made.refuse("sum", "add_vectors", {"vectors": vectors, "weights": list(WEIGHTS[:count]),
                                       **common}, {
        "no vectors": {"vectors": [], "weights": []},
        "a weight less": {"weights": list(WEIGHTS[:count - 1])},
        "weights beyond the total": {"weights": [21, *WEIGHTS[1:count]]},
        "weight 0": {"weights": [0, *WEIGHTS[1:count]]}})
    session = bytes_of("session").hex()
    parts = [made.add(f"share {share.index}", "share_of_sum", total="@sum", index=share.index,
                      secret=str(share.secret), session=session,
                      randomness=bytes_of(f"share {i}", 200).hex(), **common)
             for i, share in enumerate(shares[:2])]
    made.constants["parts"] = parts
    given: Given = {"total": "@sum", "shares": "@parts", "session": session, **common}
    made.add("open", "open_sum", **given)
    made.refuse("open", "open_sum", given, {
        "another session": {"session": "00"}, "one share": {"shares": parts[:1]},
        "a sum with a leaf less": {"change": ["drop", 0]},
        "a sum of more vectors": {"change": ["byte", -1, -1, 7]},
        "a changed ciphertext": {"change": ["byte", 0, 5, 1]}})


def packed() -> CaseFile:
    """Return the packed cipher without a norm bound."""
    return _ciphers("packed", None)


def ring_masked() -> CaseFile:
    """Return the ring-masked cipher without a norm bound."""
    return _ciphers("ring-masked", None)


def packed_bounded() -> CaseFile:
    """Return the packed cipher with norm proofs."""
    return _ciphers("packed", 1.5)


def ring_masked_bounded() -> CaseFile:
    """Return the ring-masked cipher with norm proofs."""
    return _ciphers("ring-masked", 1.5)
