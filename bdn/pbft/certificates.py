"""Proofs that a quorum said something, each verified from nothing (Castro–Liskov 4.2, 4.4).

A certificate is never believed because of who brought it: every function here recomputes the
quorum, distinctness, agreement and each signature, and raises `PeerError` at the first flaw.
"""

from collections.abc import Iterable, Sequence

from bdn.pbft.cluster import Cluster
from bdn.pbft.messages import (
    NULL_DIGEST,
    Checkpoint,
    MessageError,
    Prepared,
    PrePrepare,
    ViewChange,
)
from bdn.pbft.signing import Signing, verify_message
from bdn.seal import COMMIT_DOMAIN, Seal, commit_statement


def verify_stable(
    cluster: Cluster, signing: Signing, sequence: int, proof: Sequence[Checkpoint]
) -> bytes | None:
    """Raise unless ``proof`` shows that ``sequence`` is a stable checkpoint (Rule 5a).

    Returns the certified digest; None for sequence 0, which needs no proof.
    """
    if sequence == 0:
        if proof:
            raise MessageError("the beginning needs no checkpoint proof")
        return None
    _refuse_repeats([vote.replica for vote in proof], cluster.q, "CHECKPOINTs")
    for vote in proof:
        if vote.sequence != sequence or vote.digest != proof[0].digest:
            raise MessageError("the CHECKPOINTs of a proof do not agree")
        verify_message(vote, cluster, signing)
    return proof[0].digest


def verify_prepared(cluster: Cluster, signing: Signing, entry: Prepared) -> None:
    """Raise unless ``entry`` shows that its digest was prepared in its view (Rule 6d)."""
    proposal = entry.pre_prepare
    verify_message(proposal, cluster, signing)
    _refuse_repeats([vote.replica for vote in entry.prepares], cluster.q - 1, "PREPAREs")
    for vote in entry.prepares:
        if (vote.view, vote.sequence, vote.digest) != _point(proposal):
            raise MessageError("a PREPARE does not match its PRE-PREPARE")
        if vote.replica == cluster.primary(vote.view):
            raise MessageError("a primary's PREPARE proves nothing")
        verify_message(vote, cluster, signing)


def verify_decided(cluster: Cluster, signing: Signing, seal: Seal) -> None:
    """Raise unless a quorum committed, in one view, what the seal names (Rule 2c)."""
    _refuse_repeats([index for index, _ in seal.signatures], cluster.q, "COMMITs")
    text = commit_statement(cluster.instance, seal.view, seal.sequence, seal.digest)
    for index, signature in seal.signatures:
        if not 0 <= index < cluster.n:
            raise MessageError(f"replica {index} is none of the {cluster.n}")
        signing.verify(cluster.public_keys[index], COMMIT_DOMAIN, text, signature)


def verify_view_change(cluster: Cluster, signing: Signing, message: ViewChange) -> None:
    """Raise unless a VIEW-CHANGE is well founded in every part (Rule 6)."""
    verify_message(message, cluster, signing)
    verify_stable(cluster, signing, message.stable, message.proof)  # Rule 6a
    last = message.stable
    for entry in message.prepared:
        proposal = entry.pre_prepare
        # Rule 6b: above h, within the window, each sequence at most once.
        if not last < proposal.sequence <= message.stable + cluster.window:
            raise MessageError(f"a P entry for {proposal.sequence} is repeated or out of window")
        if proposal.view >= message.view:  # Rule 6c: prepared in a view that is being left
            raise MessageError(f"a P entry of view {proposal.view} in a VIEW-CHANGE to "
                               f"{message.view}")
        if proposal.payload is not None:
            raise MessageError("a P entry carries a payload")
        verify_prepared(cluster, signing, entry)
        last = proposal.sequence


def compute_order(
    view_changes: Iterable[ViewChange],
) -> tuple[ViewChange, list[tuple[int, bytes]]]:
    """What the new view must propose again (Rule 7b; Castro–Liskov 4.4, the set O).

    Returns the VIEW-CHANGE with the highest stable checkpoint (min-s and its proof), and for
    each sequence from min-s + 1 to max-s the digest prepared in the highest view, else null.
    """
    highest: dict[int, PrePrepare] = {}
    best: ViewChange | None = None
    for message in view_changes:
        if best is None or message.stable > best.stable:
            best = message
        for entry in message.prepared:
            known = highest.get(entry.pre_prepare.sequence)
            if known is None or entry.pre_prepare.view > known.view:
                highest[entry.pre_prepare.sequence] = entry.pre_prepare
    if best is None:
        raise MessageError("no VIEW-CHANGE at all")
    last = max(highest, default=best.stable)
    order = [(sequence, highest[sequence].digest if sequence in highest else NULL_DIGEST)
             for sequence in range(best.stable + 1, last + 1)]
    return best, order


def _point(proposal: PrePrepare) -> tuple[int, int, bytes]:
    return proposal.view, proposal.sequence, proposal.digest


def _refuse_repeats(replicas: list[int], needed: int, what: str) -> None:
    """Raise unless there are ``needed`` distinct signers, ascending (one encoding each)."""
    if replicas != sorted(set(replicas)):
        raise MessageError(f"the senders of {what} are not distinct and ascending")
    if len(replicas) < needed:
        raise MessageError(f"{len(replicas)} {what}; {needed} are needed")
