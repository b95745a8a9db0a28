"""The statement that edge servers sign, and the seal that their signatures form.

A COMMIT of PBFT and the seal of a block are the same signature: over (instance, view, sequence,
digest). Consensus makes seals, the ledger and light clients check them, and neither imports the
other; so the statement lives on the ground floor. All signatures of a seal are of one view.

Letters: n replicas, f of them faulty, q the quorum (Castro–Liskov 1999, section 3, generalised to
any n: two quorums share at least f + 1 replicas, and n − f replicas can form one).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

from bdn.encoding import Digest, at_most
from bdn.errors import PeerError, SignatureError, UsageError
from bdn.identity import Identity, verify_signature

COMMIT_DOMAIN = "bdn/commit"
MAX_REPLICAS = 1024
"""No seal has more signatures."""

MAX_NUMBER = 1 << 64
"""Views and sequence numbers have eight bytes in the statement."""


class SealError(PeerError):
    """A seal that does not prove agreement."""


def fault_bound(n: int) -> int:
    """f = ⌊(n − 1) / 3⌋, the faulty replicas that n replicas withstand."""
    if n < 1:
        raise UsageError(f"a cluster needs at least one replica, not {n}")
    return (n - 1) // 3


def quorum(n: int) -> int:
    """q = ⌈(n + f + 1) / 2⌉: 3 of 4, 4 of 5, 4 of 6, 5 of 7, 6 of 8."""
    return (n + fault_bound(n) + 2) // 2


@dataclass(frozen=True, slots=True)
class Seal:
    """A certificate that ``digest`` was agreed at ``sequence``.

    Attributes:
        view: the one view in which all signers committed.
        sequence: the sequence number; for a block, its height.
        digest: 32 bytes; for a block, the digest of its header.
        signatures: (replica index, 64-byte signature), ascending by index.
    """

    view: int
    sequence: int
    digest: Digest
    signatures: Annotated[
        tuple[tuple[int, Annotated[bytes, at_most(64)]], ...], at_most(MAX_REPLICAS)]


@lru_cache(maxsize=256)  # a quorum of COMMITs says the same
def commit_statement(instance: bytes, view: int, sequence: int, digest: bytes) -> bytes:
    """Return what a COMMIT signs under `COMMIT_DOMAIN`; ``instance`` names the chain or cluster.

    All parts after ``instance`` have fixed widths, so no two statements are the same bytes.
    """
    return instance + view.to_bytes(8, "big") + sequence.to_bytes(8, "big") + digest


def sign_commit(
    identity: Identity, instance: bytes, view: int, sequence: int, digest: bytes
) -> bytes:
    """One replica's 64-byte signature for a seal."""
    return identity.sign(COMMIT_DOMAIN, commit_statement(instance, view, sequence, digest))


def verify_commit(
    public_key: bytes, instance: bytes, view: int, sequence: int, digest: bytes, signature: bytes
) -> None:
    """Raise `SignatureError` unless ``signature`` commits to these values."""
    if not (0 <= view < MAX_NUMBER and 0 <= sequence < MAX_NUMBER):
        raise SignatureError("a view or sequence number lies outside 0 … 2^64 - 1")
    statement = commit_statement(instance, view, sequence, digest)
    verify_signature(public_key, COMMIT_DOMAIN, statement, signature)


def verify_seal(seal: Seal, instance: bytes, replicas: Sequence[bytes]) -> None:
    """Raise `SealError` unless a quorum of distinct ``replicas`` signed the seal's statement.

    Args:
        seal: the certificate.
        instance: the chain or cluster that it must be for.
        replicas: the 32-byte public keys, by replica index.
    """
    indices = [index for index, _ in seal.signatures]
    if indices != sorted(set(indices)):
        raise SealError("signers are not distinct and ascending")
    if any(not 0 <= index < len(replicas) for index in indices):
        raise SealError(f"a signer is none of the {len(replicas)} replicas")
    needed = quorum(len(replicas))
    if len(indices) < needed:
        raise SealError(f"{len(indices)} signatures; a quorum of {len(replicas)} is {needed}")
    for index, signature in seal.signatures:
        try:
            verify_commit(replicas[index], instance, seal.view, seal.sequence, seal.digest,
                          signature)
        except SignatureError as error:
            raise SealError(f"replica {index}'s signature does not verify") from error
