"""Certificates verified a second time, from the definitions, apart from the core's own checks.

Letters: q the quorum, h a stable checkpoint, V and O as in NEW-VIEW, P as in VIEW-CHANGE
(Castro–Liskov 1999, section 4.4; DESIGN.md section 10, rules 3, 5, 6 and 7).
"""

from bdn.errors import PeerError
from bdn.pbft.cluster import Cluster
from bdn.pbft.messages import NULL_DIGEST, NewView, Prepared, ViewChange
from bdn.pbft.signing import Signing, verify_message
from bdn.seal import COMMIT_DOMAIN, Seal, commit_statement


class AuditError(PeerError):
    """A certificate that does not prove what it claims."""


def audit_seal(seal: Seal, cluster: Cluster, signing: Signing) -> None:
    """Raise `PeerError` unless q replicas committed to the seal's values in its one view."""
    signers = [index for index, _ in seal.signatures]
    _demand(len(set(signers)) == len(signers) >= cluster.q, "fewer than a quorum signed")
    text = commit_statement(cluster.instance, seal.view, seal.sequence, seal.digest)
    for index, signature in seal.signatures:
        signing.verify(cluster.public_keys[index], COMMIT_DOMAIN, text, signature)


def audit_view_change(message: ViewChange, cluster: Cluster, signing: Signing) -> None:
    """Raise `PeerError` unless C proves h and every entry of P was prepared below the view."""
    verify_message(message, cluster, signing)
    signers = {checkpoint.replica for checkpoint in message.proof}
    digests = {checkpoint.digest for checkpoint in message.proof}
    if message.stable:
        _demand(len(signers) >= cluster.q and len(digests) == 1, "C proves no checkpoint")
    for checkpoint in message.proof:
        _demand(checkpoint.sequence == message.stable, "C is of another checkpoint")
        verify_message(checkpoint, cluster, signing)
    sequences = [entry.pre_prepare.sequence for entry in message.prepared]
    _demand(sequences == sorted(set(sequences)), "P is not ascending")
    for entry in message.prepared:
        _demand(entry.pre_prepare.view < message.view, "an entry of P is not below the view")
        _demand(0 < entry.pre_prepare.sequence - message.stable <= cluster.window,
                "an entry of P is outside the window")
        audit_prepared(entry, cluster, signing)


def audit_prepared(entry: Prepared, cluster: Cluster, signing: Signing) -> None:
    """Raise `PeerError` unless q − 1 backups and the primary stand behind one digest."""
    proposal = entry.pre_prepare
    verify_message(proposal, cluster, signing)
    backups = {vote.replica for vote in entry.prepares} - {cluster.primary(proposal.view)}
    _demand(len(backups) >= cluster.q - 1, "fewer than q − 1 backups prepared")
    for vote in entry.prepares:
        _demand((vote.view, vote.sequence, vote.digest)
                == (proposal.view, proposal.sequence, proposal.digest), "votes do not match")
        verify_message(vote, cluster, signing)


def audit_new_view(message: NewView, cluster: Cluster, signing: Signing) -> None:
    """Raise `PeerError` unless V is a quorum and O is exactly what V makes of it."""
    verify_message(message, cluster, signing)
    senders = {change.replica for change in message.view_changes}
    _demand(len(senders) >= cluster.q, "V is no quorum")
    for change in message.view_changes:
        _demand(change.view == message.view, "V holds a VIEW-CHANGE to another view")
        audit_view_change(change, cluster, signing)
    stated = {entry.sequence: entry.digest for entry in message.pre_prepares}
    _demand(stated == expected_proposals(message), "O is not what V makes of it")
    for entry in message.pre_prepares:
        _demand(entry.view == message.view, "O holds a proposal of another view")
        verify_message(entry, cluster, signing)


def expected_proposals(message: NewView) -> dict[int, bytes]:
    """O by its definition: from min-s to max-s the digest of highest view, else null."""
    low = max((change.stable for change in message.view_changes), default=0)
    best: dict[int, tuple[int, bytes]] = {}
    for change in message.view_changes:
        for entry in change.prepared:
            proposal = entry.pre_prepare
            if proposal.sequence > low:
                best[proposal.sequence] = max(best.get(proposal.sequence, (-1, b"")),
                                              (proposal.view, proposal.digest))
    return {sequence: best[sequence][1] if sequence in best else NULL_DIGEST
            for sequence in range(low + 1, max(best, default=low) + 1)}


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AuditError(otherwise)
