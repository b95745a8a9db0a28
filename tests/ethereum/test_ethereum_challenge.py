"""The fraud proof: it flags every false aggregate, and never an honest one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bdn.chain import merkle, pack_blob, unpack_blob
from bdn.ethereum import (
    PHASES,
    EthereumNode,
    FraudEvidence,
    Plan,
    PlannedRound,
    ProvenLeaf,
    RevertedError,
    challenge,
    falsify,
    gather_evidence,
    is_right,
    read_anchored,
)

pytestmark = pytest.mark.usefixtures("extra")
Anchor = Callable[[Plan], Any]


def only(plan: Plan, *rounds: PlannedRound) -> Plan:
    """The plan of these rounds alone."""
    return replace(plan, rounds=rounds)


def chosen(count: int) -> list[int]:
    """Indices at the edges of a tree and in its middle."""
    return sorted({0, 1, count // 2, count - 1} & set(range(count)))


def test_an_honest_aggregate_is_never_flagged(
    small_run: Any, node: EthereumNode, anchored: Anchor
) -> None:
    """Whatever index of whatever phase is shown, the contract refuses to convict."""
    plan, store = small_run.plan, small_run.store
    contract = anchored(plan)
    for planned in plan.rounds:
        item = planned.round
        for index in chosen(plan.setup.shapes[item.phase].ciphertexts):
            evidence = gather_evidence(item, plan.setup, index, store.blob)
            assert is_right(item, plan.setup, evidence)
            verdict = challenge(node, contract, item, plan.setup, evidence, node.accounts[5])
            assert not verdict.lie
        assert read_anchored(node, contract, item.epoch, item.phase).lie == 0


def test_a_lie_is_flagged_once_and_at_its_index_only(
    small_run: Any, node: EthereumNode, anchored: Anchor
) -> None:
    """One added to one plaintext of the sum: proven at that index, by anyone, and not elsewhere."""
    plan, store = small_run.plan, small_run.store
    honest = plan.find(2, "weights")
    liar, blob = falsify(honest, plan.setup, 3, store.blob)
    contract = anchored(only(plan, liar))
    for index, lie in ((2, False), (3, True)):
        evidence = gather_evidence(liar.round, plan.setup, index, store.blob, blob)
        verdict = challenge(node, contract, liar.round, plan.setup, evidence, node.accounts[9])
        assert verdict.lie is lie
        assert is_right(liar.round, plan.setup, evidence) is not lie
    kept = read_anchored(node, contract, 2, PHASES.index("weights"))
    assert kept.lie == 4
    logs = node.logs(contract.events.LieProven, node.web3.eth.block_number)
    assert [(log["args"]["edge"], log["args"]["index"]) for log in logs] == [(kept.edge, 3)]
    assert logs[0]["args"]["challenger"] == node.accounts[9].address
    with pytest.raises(RevertedError, match="proven false already"):
        challenge(node, contract, liar.round, plan.setup, evidence, node.accounts[9])


def test_every_wrong_weight_is_a_lie(packed_run: Any, node: EthereumNode, anchored: Anchor) -> None:
    """With the packed cipher, an anchored s_k that Eq. (5) did not use convicts as well."""
    plan, store = packed_run.plan, packed_run.store
    honest = plan.find(1, "weights")
    first, *rest = honest.round.contributions
    changed = replace(honest.round, contributions=(replace(first, weight=first.weight + 1), *rest))
    contract = anchored(only(plan, replace(honest, round=changed)))
    evidence = gather_evidence(changed, plan.setup, 0, store.blob)
    assert challenge(node, contract, changed, plan.setup, evidence, node.accounts[0]).lie


@pytest.mark.parametrize("what", ["short", "long", "zero", "modulus", "unreduced"])
@pytest.mark.parametrize("place", ["claimed", "input"])
def test_what_is_no_ciphertext_convicts(
    packed_run: Any, node: EthereumNode, anchored: Anchor, what: str, place: str
) -> None:
    """Algorithm 2, line 16: an edge server may neither include nor make such a leaf."""
    plan, store = packed_run.plan, packed_run.store
    planned = plan.find(1, "weights")
    item, modulus = planned.round, plan.setup.modulus
    root = item.aggregate_root if place == "claimed" else item.contributions[1].root
    leaves = unpack_blob(store.blob(root))
    width, M = len(modulus), int.from_bytes(modulus, "big")
    value = int.from_bytes(leaves[2], "big")
    leaves[2] = {
        "short": leaves[2][1:], "long": b"\0" + leaves[2], "zero": bytes(width),
        "modulus": modulus,
        "unreduced": (value + M * ((256**width - 1 - value) // M)).to_bytes(width, "big"),
    }[what]
    if what == "unreduced" and int.from_bytes(leaves[2], "big") == value:
        pytest.skip("no second representative fits the width")
    blob = pack_blob(leaves)
    if place == "claimed":
        changed = replace(item, aggregate_root=merkle.root(leaves))
    else:
        one, two, three = item.contributions
        changed = replace(item, contributions=(one, replace(two, root=merkle.root(leaves)), three))
    contract = anchored(only(plan, replace(planned, round=changed)))
    blobs = {merkle.root(leaves): blob}
    evidence = gather_evidence(
        changed, plan.setup, 2, lambda name: blobs[name] if name in blobs else store.blob(name))
    assert not is_right(changed, plan.setup, evidence)
    assert challenge(node, contract, changed, plan.setup, evidence, node.accounts[0]).lie


def bent(evidence: FraudEvidence, how: str) -> FraudEvidence:
    """Evidence that proves nothing."""
    first, *rest = evidence.inputs
    changed = ProvenLeaf(bytes([first.data[0] ^ 1]) + first.data[1:], first.path)
    claimed = evidence.claimed
    return {
        "InputNotIncluded": replace(evidence, inputs=(changed, *rest)),
        "WrongInputCount": replace(evidence, inputs=tuple(rest)),
        "ClaimNotIncluded": replace(evidence, claimed=ProvenLeaf(claimed.data, claimed.path[:-1])),
        "NoSuchCiphertext": replace(evidence, index=10_000),
    }[how]


@pytest.mark.parametrize(
    "how", ["InputNotIncluded", "WrongInputCount", "ClaimNotIncluded", "NoSuchCiphertext"])
def test_forged_evidence_is_refused(
    packed_run: Any, node: EthereumNode, anchored: Anchor, how: str
) -> None:
    """An honest edge server cannot be framed: what is not in the anchored trees counts nothing."""
    plan, store = packed_run.plan, packed_run.store
    planned = plan.find(1, "weights")
    item = planned.round
    contract = anchored(only(plan, planned))
    evidence = bent(gather_evidence(item, plan.setup, 1, store.blob), how)
    with pytest.raises(RevertedError) as caught:
        challenge(node, contract, item, plan.setup, evidence, node.accounts[0])
    assert caught.value.name == how


def test_another_round_or_modulus_is_refused(
    packed_run: Any, node: EthereumNode, anchored: Anchor
) -> None:
    """The commitment fixes roots and weights; the deployment fixes N²."""
    plan, store = packed_run.plan, packed_run.store
    planned = plan.find(1, "weights")
    item = planned.round
    contract = anchored(only(plan, planned))
    evidence = gather_evidence(item, plan.setup, 1, store.blob)
    other = replace(item, aggregate_root=bytes(32))
    with pytest.raises(RevertedError, match="not anchored like this"):
        challenge(node, contract, other, plan.setup, evidence, node.accounts[0])
    with pytest.raises(RevertedError, match="another key"):
        challenge(node, contract, item, replace(plan.setup, modulus=b"\x03"), evidence,
                  node.accounts[0])


def test_the_tail_is_no_ciphertext(small_run: Any, node: EthereumNode, anchored: Anchor) -> None:
    """Ring chunks and the tail lie beyond what Eq. (5) says; the contract does not judge them."""
    plan, store = small_run.plan, small_run.store
    item = plan.find(1, "weights").round
    shape = plan.setup.shapes[item.phase]
    leaves = unpack_blob(store.blob(item.aggregate_root))
    assert len(leaves) == shape.leaves
    assert all(len(leaf) == len(plan.setup.modulus) for leaf in leaves[: shape.ciphertexts])
    contract = anchored(only(plan, plan.find(1, "weights")))
    path = tuple(merkle.inclusion_proof(leaves, shape.ciphertexts))
    beyond = ProvenLeaf(leaves[shape.ciphertexts], path)
    evidence = FraudEvidence(shape.ciphertexts, (beyond,) * 3, beyond)
    with pytest.raises(RevertedError, match="there is no ciphertext"):
        challenge(node, contract, item, plan.setup, evidence, node.accounts[0])
