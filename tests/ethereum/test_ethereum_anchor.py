"""Anchoring a run: only edge servers, once an epoch's phase; continued, not repeated."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bdn.chain import Store
from bdn.errors import UsageError
from bdn.ethereum import (
    PHASES,
    Contribution,
    EthereumNode,
    NodeError,
    Plan,
    Record,
    RevertedError,
    Shape,
    anchor_run,
    compare,
    find_contract,
    in_process,
    read_anchored,
    read_plan,
    read_round,
)
from bdn.ethereum.anchoring import _deploy, round_argument
from bdn.identity import address_of
from bdn.nodes.settings import Settings

Anchor = Callable[[Plan], Any]
EVERYTHING = 1 + 1 + 5  # transactions: deployment, registration, and five rounds


# --- the plan -----------------------------------------------------------------------------------


def test_the_plan_is_the_ledger(small_run: Any) -> None:
    """Update roots, weights, aggregate roots, digests and rewards, as the ledger has them."""
    plan, store = small_run.plan, small_run.store
    names = [(item.round.epoch, PHASES[item.round.phase]) for item in plan.rounds]
    assert names == [(1, "gradient"), (1, "weights"), (2, "gradient"), (2, "weights"), (2, "loss")]
    assert sorted(c.weight for c in plan.rounds[0].round.contributions) == [1, 3, 12]
    for item in plan.rounds:
        block = store.block(item.round.height)
        assert (item.round.block_digest, item.proposer) == (block.digest, block.header.proposer)
        moved = sum(payment.amount for payment in item.payments)
        settings = Settings.from_plain(store.genesis().settings)
        rewards = settings.processing_reward + 16 * settings.data_reward
        assert moved == (rewards if PHASES[item.round.phase] == "weights" else 0)


def test_a_run_without_a_key_has_nothing_to_anchor(packed_run: Any) -> None:
    class Early:
        """The store as it was after genesis."""

        genesis, block = packed_run.store.genesis, packed_run.store.block
        receipts = packed_run.store.receipts

        @staticmethod
        def height() -> int:
            return 0

    with pytest.raises(UsageError, match="not registered its key"):
        read_plan(Early())  # type: ignore[arg-type]


def test_a_round_that_is_not_there_is_named(packed_run: Any) -> None:
    with pytest.raises(UsageError, match="no aggregate of epoch 3, weights; it has: epoch 1, grad"):
        packed_run.plan.find(3, "weights")


# --- anchoring ----------------------------------------------------------------------------------


def test_chain_and_ledger_agree_after_anchoring(
    small_run: Any, node: EthereumNode, anchored: Anchor
) -> None:
    """Everything that the ledger has is found again on chain, and nothing else."""
    contract = anchored(small_run.plan)
    assert compare(node, contract, small_run.plan) == []
    for item in small_run.plan.rounds:
        assert read_round(node, contract, item.round.epoch, item.round.phase) == item.round


def test_the_proposers_account_anchors(
    packed_run: Any, node: EthereumNode, anchored: Anchor
) -> None:
    """Account i speaks for edge server i; the fixture's two servers take turns."""
    contract = anchored(packed_run.plan)
    edges = [address_of(key) for key in packed_run.plan.setup.edges]
    speakers = set()
    for item in packed_run.plan.rounds:
        kept = read_anchored(node, contract, item.round.epoch, item.round.phase)
        assert kept.edge == node.accounts[edges.index(item.proposer)].address
        speakers.add(kept.edge)
    assert len(speakers) == 2


def test_anchoring_again_changes_nothing(
    packed_run: Any, node: EthereumNode, record: Record, anchored: Anchor
) -> None:
    anchored(packed_run.plan)
    before = node.web3.eth.block_number
    outcome = anchor_run(node, packed_run.plan, record)
    assert (outcome.gas, len(outcome.already), outcome.conflicts) == ([], 5, [])
    assert node.web3.eth.block_number == before


class Unreliable:
    """Loses the connection at every transaction: by turns before it was sent, and after."""

    def __init__(self, node: EthereumNode, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent, self.calls, self._hand_in = 0, 0, node._hand_in
        monkeypatch.setattr(node, "_hand_in", self)

    def __call__(self, fields: Any, account: Any) -> Any:
        self.calls += 1
        if self.calls % 2:
            raise NodeError("lost before it was sent")
        self._hand_in(fields, account)
        self.sent += 1
        raise NodeError("lost after it was sent")


def test_a_half_anchored_run_is_continued_not_repeated(
    packed_run: Any, extra: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted before and after every single transaction, each is made exactly once."""
    node, plan = in_process(), packed_run.plan
    network = Unreliable(node, monkeypatch)
    for _ in range(2 * EVERYTHING):
        with pytest.raises(NodeError, match="lost"):
            anchor_run(node, plan, Record(tmp_path))
    outcome = anchor_run(node, plan, Record(tmp_path))
    assert (network.sent, outcome.gas, len(outcome.already)) == (EVERYTHING, [], 5)
    contract = find_contract(node, plan.setup, Record(tmp_path))
    assert compare(node, contract, plan) == []
    assert node.web3.eth.block_number == EVERYTHING  # in process, a block a transaction


def test_an_epoch_in_between_is_filled_in(
    packed_run: Any, node: EthereumNode, record: Record, anchored: Anchor
) -> None:
    """Of an epoch whose gradient alone is anchored, only the weights are anchored."""
    plan = packed_run.plan
    anchored(replace(plan, rounds=plan.rounds[:1]))
    outcome = anchor_run(node, plan, record)
    assert [what for what, _ in outcome.gas] == [
        f"anchored {item.round.name}" for item in plan.rounds[1:]]
    assert outcome.already == ["epoch 1, gradient"]


def test_another_edge_server_may_be_faster(
    packed_run: Any, node: EthereumNode, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our look and our transaction somebody else anchors the same: that is fine."""
    plan = replace(packed_run.plan, rounds=packed_run.plan.rounds[:1])
    original = node.send

    def overtaken(call: Any, account: Any, **options: Any) -> Any:
        monkeypatch.setattr(node, "send", original)
        original(call, node.accounts[1])
        return original(call, account, **options)

    monkeypatch.setattr(node, "send", overtaken)
    outcome = anchor_run(node, plan, record)
    assert (outcome.gas, outcome.already) == ([], ["epoch 1, gradient"])


# --- what the contract refuses ------------------------------------------------------------------


def test_only_registered_edge_servers_anchor(
    packed_run: Any, node: EthereumNode, record: Record, anchored: Anchor
) -> None:
    """Neither the rounds nor the devices are a stranger's to write."""
    plan = packed_run.plan
    contract = anchored(replace(plan, rounds=()))
    stranger = node.accounts[7]
    for call in (contract.functions.anchor(round_argument(plan.rounds[0].round), []),
                 contract.functions.register([bytes(32)])):
        with pytest.raises(RevertedError, match="not a registered edge server") as caught:
            node.send(call, stranger)
        assert caught.value.name == "NotAnEdge"
    node_of_stranger = EthereumNode(node.web3, "here", [stranger])
    with pytest.raises(UsageError, match="none of the accounts is an edge server"):
        anchor_run(node_of_stranger, plan, record)


def test_a_round_is_anchored_once(packed_run: Any, node: EthereumNode, anchored: Anchor) -> None:
    """Neither the same nor another round replaces what is anchored."""
    plan = packed_run.plan
    contract = anchored(replace(plan, rounds=plan.rounds[:1]))
    item = plan.rounds[0].round
    for again in (item, replace(item, aggregate_root=bytes(32))):
        with pytest.raises(RevertedError, match="anchored already") as caught:
            node.send(contract.functions.anchor(round_argument(again), []), node.accounts[1])
        assert caught.value.name == "AlreadyAnchored"


@pytest.mark.parametrize("what", ["phase", "none", "order", "twice", "stranger", "weight"])
def test_malformed_rounds_are_refused(
    packed_run: Any, node: EthereumNode, anchored: Anchor, what: str
) -> None:
    """Contributors are registered, distinct and ascending, with weight, as the ledger demands."""
    plan = packed_run.plan
    contract = anchored(replace(plan, rounds=()))
    item = plan.rounds[0].round
    one, two, three = item.contributions
    changed = {
        "phase": replace(item, phase=3),
        "none": replace(item, contributions=()),
        "order": replace(item, contributions=(two, one, three)),
        "twice": replace(item, contributions=(one, one, two)),
        "stranger": replace(item, contributions=(Contribution(b"\x01" * 20, 1, bytes(32)),)),
        "weight": replace(item, contributions=(replace(one, weight=0), two, three)),
    }[what]
    with pytest.raises(RevertedError, match="malformed") as caught:
        node.send(contract.functions.anchor(round_argument(changed), []), node.accounts[0])
    assert caught.value.name == "BadRound"


def test_a_phase_that_the_run_does_not_have_is_refused(packed_run: Any, node: EthereumNode) -> None:
    """Under the rule sgd there is no gradient phase: its shape is zero."""
    shapes = (Shape(0, 0), *packed_run.plan.setup.shapes[1:])
    plan = replace(packed_run.plan, setup=replace(packed_run.plan.setup, shapes=shapes))
    with pytest.raises(RevertedError, match="no such phase"):
        anchor_run(node, plan, Record(None))


def test_devices_register_once_and_all_of_them_first(packed_run: Any, node: EthereumNode) -> None:
    """Nothing is anchored before the last device of the ledger is there; then no other comes in."""
    setup = packed_run.plan.setup
    contract = _deploy(node, setup, Record(None), lambda *_: None)
    register, account = contract.functions.register, node.accounts[0]
    node.send(register([setup.devices[0]]), account)
    item = round_argument(packed_run.plan.rounds[0].round)
    for call, name in (
        (contract.functions.anchor(item, []), "DevicesMissing"),
        (register([setup.devices[0]]), "DeviceKnown"),
        (register([*setup.devices[1:], bytes(32)]), "TooManyDevices"),
    ):
        with pytest.raises(RevertedError) as caught:
            node.send(call, account)
        assert caught.value.name == name
    node.send(register(list(setup.devices[1:])), account)
    node.send(contract.functions.anchor(item, []), account)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"modulus": b"\x10"}, "odd"), ({"modulus": b""}, "odd"), ({"devices": ()}, "no device"),
        ({"edges": ()}, "no edge server"), ({"edges": (bytes(32),)}, "edge servers"),
        ({"shapes": (Shape(3, 2), Shape(1, 2), Shape(1, 2))}, "shapes"),
    ],
)
def test_an_unusable_set_up_is_not_deployed(
    packed_run: Any, node: EthereumNode, changes: dict[str, Any], why: str, tmp_path: Path
) -> None:
    """An even modulus would make the product's factor of four vanish: it is refused at once."""
    setup = replace(packed_run.plan.setup, **changes)
    with pytest.raises(RevertedError, match=why) as caught:
        anchor_run(node, Plan(setup, ()), Record(tmp_path))
    assert caught.value.name == "BadSetup"
    assert not list(tmp_path.iterdir()), "what was not sent is not recorded"


# --- comparing ----------------------------------------------------------------------------------


def bent_plans(plan: Plan) -> dict[str, tuple[Plan, str]]:
    """By name: the plan with one thing changed, and what must be said about it."""
    setup, (first, second, *rest) = plan.setup, plan.rounds
    one, *others = second.round.contributions

    def with_second(**changes: Any) -> Plan:
        changed = replace(second, round=replace(second.round, **changes))
        return Plan(setup, (first, changed, *rest))

    paid = replace(second, payments=(
        replace(second.payments[0], amount=1), *second.payments[1:]))
    return {
        "root": (with_second(aggregate_root=bytes(32)), "aggregate_root"),
        "digest": (with_second(block_digest=bytes(32)), "block_digest"),
        "height": (with_second(height=99), "height"),
        "weight": (with_second(contributions=(replace(one, weight=9), *others)), "contributions"),
        "payment": (Plan(setup, (first, paid, *rest)), "reward events"),
        "missing": (Plan(setup, (*plan.rounds, replace(first, round=replace(
            first.round, epoch=7)))), "epoch 7, gradient: not anchored"),
        "extra": (Plan(setup, plan.rounds[1:]), "1 anchored rounds are not in the ledger"),
        "modulus": (replace(plan, setup=replace(setup, modulus=b"\x07")), "Paillier modulus"),
        "cipher": (replace(plan, setup=replace(setup, weight_inside=True)), "cipher"),
        "devices": (replace(plan, setup=replace(
            setup, devices=(*setup.devices[:-1], bytes(32)))), "not registered"),
        "count": (replace(plan, setup=replace(setup, devices=setup.devices[:-1])), "number of dev"),
        "shape": (replace(plan, setup=replace(
            setup, shapes=(Shape(1, 2), *setup.shapes[1:]))), "shape of phase 0"),
        "edges": (replace(plan, setup=replace(setup, edges=setup.edges[:1])), "edge servers"),
    }


def test_every_difference_is_found_and_named(
    packed_run: Any, node: EthereumNode, anchored: Anchor
) -> None:
    """`bdn anchor verify`: one change anywhere in the ledger's plan is one line."""
    contract = anchored(packed_run.plan)
    for name, (plan, said) in bent_plans(packed_run.plan).items():
        found = compare(node, contract, plan)
        assert any(said in line for line in found), (name, found)


def test_a_conflict_is_reported_and_the_rest_anchored(
    packed_run: Any, node: EthereumNode, record: Record, anchored: Anchor
) -> None:
    """What stands on chain otherwise stays; the other rounds are anchored all the same."""
    plan = packed_run.plan
    false = replace(plan.rounds[0], round=replace(plan.rounds[0].round, aggregate_root=bytes(32)))
    contract = anchored(replace(plan, rounds=(false,)))
    outcome = anchor_run(node, plan, record)
    assert outcome.conflicts == ["epoch 1, gradient"]
    assert len(outcome.gas) == 4
    found = compare(node, contract, plan)
    assert found == [
        "epoch 1, gradient: anchored otherwise than the ledger has it (aggregate_root)"]


def test_the_real_store_gives_the_same_plan(folder: Path, packed_run: Any) -> None:
    """Reading is deterministic, and read-only."""
    store = Store.open(folder / "ledger.sqlite", read_only=True)
    try:
        assert read_plan(store) == packed_run.plan
    finally:
        store.close()
