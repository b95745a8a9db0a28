"""The norm check's sums: how edge servers make them, and how key holders open them.

The mathematics, and what it shows and hides, is in `bdn.paillier.norms`; the protocol in
docs/norm-check.md. A probe blob holds R ciphertexts for each device, in the order of the devices.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from bdn.chain import blob_root, pack_blob, unpack_blob
from bdn.chain.contracts import Value
from bdn.encoding import transcript
from bdn.errors import PeerError, UsageError
from bdn.nodes.group import HeldShare, holder_context, open_held, seal_for_group
from bdn.nodes.hostcalls import GAS_PER_CALL, arguments_of, size_of
from bdn.nodes.settings import NOT_RING_MASKED
from bdn.paillier import KeyShare, PackedCipher, PublicKey, SealedVector, VectorCipher
from bdn.paillier.batch import (
    PartialVector,
    combine_many,
    pack_values,
    partially_decrypt_many,
    unpack_values,
)
from bdn.paillier.norms import estimate_norm, make_probes
from bdn.randomness import Randomness

PROBE = "-probe"
"""Ends the phase's name in what concerns its probes: shares, sessions, promises."""

GAS_PER_BYTE_PROBED = 8


def probe_phase(phase: str) -> str:
    """The name under which the shares of ``phase``'s probes travel."""
    return phase + PROBE


def probe_seed(chain: bytes, epoch: int, phase: str, parent: bytes, device: bytes) -> bytes:
    """What a device's signs are drawn from; ``parent``: the digest of the block before."""
    return transcript("bdn/probe-seed", chain, epoch.to_bytes(8, "big"), phase.encode(), parent,
                      device)


def packed(cipher: VectorCipher) -> PackedCipher:
    """``cipher``, which must be the one that can be probed; `UsageError` for another."""
    if not isinstance(cipher, PackedCipher):
        raise UsageError(NOT_RING_MASKED)
    return cipher


# --- making: edge servers -----------------------------------------------------------------------


def probe_leaves(
    cipher: PackedCipher, sealed: Sequence[SealedVector], seeds: Sequence[bytes], repetitions: int
) -> list[bytes]:
    """A probe blob's leaves: the probes of updates that have been verified, a seed for each."""
    leaves = []
    for item, seed in zip(sealed, seeds, strict=True):
        ciphertexts = unpack_values(cipher.public_key, item.ciphertexts)
        for c in make_probes(cipher, ciphertexts, seed, repetitions):
            leaves.append(pack_values(cipher.public_key, [c]))
    return leaves


class Prober(Protocol):
    """What the two host functions need of `bdn.nodes.sealing.VectorHost`."""

    def verify(
        self, terms: Sequence[bytes], epoch: int, phase: str, device: bytes, update: Any
    ) -> None: ...
    def probes(
        self, terms: Sequence[bytes], epoch: int, phase: str, parent: bytes, named: Sequence[Any]
    ) -> tuple[bytes, int, int]: ...


class UpdateVerifies:
    """`update_verifies(terms, epoch, phase, device, update)`: verify_update as a question."""

    def __init__(self, host: Prober, per_byte: int) -> None:
        self._host = host
        self._per_byte = per_byte

    def price(self, args: Sequence[Value]) -> int:
        """As of verify_update."""
        return GAS_PER_CALL + self._per_byte * size_of(arguments_of(args, 5)[4])

    def __call__(self, args: Sequence[Value]) -> Value:
        """True or False; what is wrong with the caller's own terms still raises."""
        try:
            self._host.verify(*arguments_of(args, 5))
        except PeerError:
            return False
        return True


class NormProbes:
    """`norm_probes(terms, epoch, phase, parent, [[device, update], …])`: [root, chunks, size]."""

    def __init__(self, host: Prober, repetitions: int) -> None:
        self._host = host
        self._repetitions = repetitions

    def price(self, args: Sequence[Value]) -> int:
        """By the bytes that are multiplied, once for each repetition."""
        named = arguments_of(args, 5)[4]
        total = sum(size_of(update) for _, update in named)
        return GAS_PER_CALL + GAS_PER_BYTE_PROBED * self._repetitions * total

    def __call__(self, args: Sequence[Value]) -> Value:
        """The probes' blob is left with the host."""
        return list(self._host.probes(*arguments_of(args, 5)))


# --- opening: key holders -----------------------------------------------------------------------


def share_probes(
    public_key: PublicKey, share: KeyShare, blob: bytes, session: bytes, holder: bytes,
    group_key: bytes, rng: Randomness,
) -> bytes:
    """Partial decryptions of all probes with one proof, sealed for the group, as a blob.

    ``holder`` is the key holder's 20-byte address, to which the seal is bound.
    """
    ciphertexts = _ciphertexts(public_key, blob)
    bound = _bound(session, blob)
    part = partially_decrypt_many(share, ciphertexts, bound, rng)
    context = holder_context(bound, share.index, holder)
    return pack_blob([seal_for_group(group_key, part.to_bytes(public_key), context, rng)])


def read_norms(
    cipher: PackedCipher, blob: bytes, repetitions: int, shares: Sequence[HeldShare],
    session: bytes, group_key: bytes,
) -> tuple[int, ...]:
    """The norm of each probed update in levels, from at least t shares' blobs; proofs are checked.

    Shares that are not their holder's are left out; raises a `PeerError` where too few good ones
    remain. Any t good shares give the same numbers.
    """
    key = cipher.public_key
    bound = _bound(session, blob)
    parts, _ = open_held(group_key, shares, bound,
                         lambda plain: PartialVector.from_bytes(key, plain))
    opened = combine_many(key, _ciphertexts(key, blob), parts, bound, as_signed=True)
    return tuple(estimate_norm(cipher, opened[at : at + repetitions])
                 for at in range(0, len(opened), repetitions))


def _ciphertexts(public_key: PublicKey, blob: bytes) -> list[Any]:
    return [unpack_values(public_key, leaf)[0] for leaf in unpack_blob(blob)]


def _bound(session: bytes, blob: bytes) -> bytes:
    return transcript("bdn/probe-share", session, blob_root(blob))
