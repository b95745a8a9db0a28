"""What a block may do: execution, its refusals, and its receipts."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bdn.chain import (
    BlockError,
    CallTransaction,
    DeployContract,
    Ledger,
    MissingBlobsError,
    RegisterDevice,
    ShareTransaction,
    StoreError,
    UpdateTransaction,
    build_genesis,
    sign_transaction,
)
from bdn.chain.contracts import CallReceipt as Outcome
from bdn.chain.contracts.receipt import Reason
from bdn.errors import EncodingError, UsageError
from bdn.identity import Identity
from bdn.randomness import SeededRandomness
from bdn.seal import SealError

GAS = 100_000


def test_a_block_moves_the_state_and_leaves_receipts(chain: Any) -> None:
    """Transactions take effect in order; receipts say so."""
    candidate = chain.add([chain.transfer(0, b"bob", 30), chain.transfer(1, b"bob", 5)])
    assert [receipt.ok for receipt in candidate.receipts] == [True, True]
    assert chain.ledger.call("learning", "balance_of", b"bob") == 35
    assert candidate.receipts[0].events[0].fields == {"to": b"bob", "amount": 30}
    assert chain.ledger.store.receipts(1) == candidate.receipts
    assert chain.ledger.store.block(1) == candidate.block


def test_inclusion_is_not_success(chain: Any) -> None:
    """A failing call leaves a failed receipt, the nonce used, and nothing else."""
    before = dict(chain.ledger.state.items())
    candidate = chain.add([chain.transfer(0, b"bob", 500)])
    (receipt,) = candidate.receipts
    assert (receipt.ok, receipt.status, receipt.events) == (False, "reverted", ())
    assert "balance too small" in (receipt.error or "")
    assert 0 < receipt.gas_used <= 1_000_000
    changed = {slot for slot, value in chain.ledger.state.items() if before.get(slot) != value}
    assert changed == {("ledger", b"nonce/" + chain.devices[0].address)}


@pytest.mark.parametrize(("call", "status"), [
    (("learning", "no_such_function", ()), "refused"),
    (("no_such_contract", "transfer", ()), "refused"),
    (("learning", "transfer", (b"bob",)), "refused"),
    (("learning", "transfer", (b"bob", "many")), "failed"),
    (("learning", "erase", ("missing",)), "failed"),
    (("learning", "transfer", (b"bob", -1)), "reverted"),
], ids=repr)
def test_whatever_is_asked_wrongly_gives_a_receipt(
    chain: Any, call: tuple[str, str, tuple[Any, ...]], status: str
) -> None:
    """A transaction can fail; it cannot stop the chain."""
    envelope = chain.sign(chain.devices[0], CallTransaction(*call))
    candidate = chain.add([envelope, chain.transfer(1, b"bob", 1)])
    assert [receipt.status for receipt in candidate.receipts] == [status, "ok"]
    assert candidate.receipts[0].error


def test_what_no_node_would_decode_is_refused_where_it_is_signed(chain: Any) -> None:
    """A payload beyond the bounds of its fields is the caller's mistake, and is named at once."""
    for payload, field in ((CallTransaction("learning", "transfer", (b"bob", 1 << 9000)), "argum"),
                           (CallTransaction("x" * 300, "transfer", ()), "contract"),
                           (RegisterDevice("d", "s" * 5000, 0), "statement")):
        with pytest.raises(EncodingError, match=field):
            chain.sign(chain.devices[0], payload)


def test_out_of_gas_takes_all_gas_and_changes_nothing(chain: Any) -> None:
    """The limit that the sender signed is the most that a call may cost."""
    envelope = chain.sign(chain.devices[0],
                          CallTransaction("learning", "transfer", (b"bob", 1)), gas=50)
    (receipt,) = chain.add([envelope]).receipts
    assert (receipt.status, receipt.gas_used) == ("out-of-gas", 50)
    assert chain.ledger.call("learning", "balance_of", b"bob") == 0


def test_a_failed_call_is_undone_whatever_its_engine_wrote(chain: Any) -> None:
    """Revert is atomic; the ledger does not rely on the engine for it."""

    class Careless:
        def call(self, function: str, args: Any, *, state: Any, **_: Any) -> Outcome:
            state.put("learning", b"half", b"done")
            return Outcome(False, None, 7, (), "failed", Reason("require", ("stopped half way",)))

    machine = replace(chain.ledger.machine, contracts={"learning": Careless()})
    chain.ledger.machine = machine
    candidate = chain.propose([chain.transfer(0, b"bob", 1)])
    assert candidate.receipts[0].error == "stopped half way"
    assert candidate.state.get("learning", b"half") is None
    assert list(candidate.writes) == [("ledger", b"nonce/" + chain.devices[0].address)]


def test_nonces_are_exactly_one_after_another(chain: Any) -> None:
    """A replay is refused with its reason, as is a gap."""
    first = chain.transfer(0, b"bob", 1)
    chain.add([first])
    with pytest.raises(BlockError, match="transaction 0: nonce 1 was used already; the next is 2"):
        chain.propose([first])
    second, third = chain.transfer(0, b"bob", 1), chain.transfer(0, b"bob", 1)
    with pytest.raises(BlockError, match="leaves a gap"):
        chain.propose([third])
    with pytest.raises(BlockError, match="leaves a gap"):
        chain.propose([third, second])
    with pytest.raises(BlockError, match="used already"):
        chain.propose([second, second])
    chain.add([second, third])
    assert chain.ledger.next_nonce(chain.devices[0].address) == 4


def test_select_tells_apart_what_a_block_may_hold(chain: Any) -> None:
    """An edge server refuses with reasons before it executes anything."""
    good = [chain.transfer(0, b"bob", 1), chain.transfer(0, b"bob", 2), chain.transfer(1, b"b", 1)]
    forged = replace(good[2], signature=bytes(64))
    foreign = sign_transaction(chain.devices[2], bytes(32), 1, GAS,
                               CallTransaction("learning", "transfer", (b"bob", 1)))
    greedy = sign_transaction(chain.devices[3], chain.ledger.chain, 1, 1 << 40,
                              CallTransaction("learning", "transfer", (b"bob", 1)))
    accepted, refused = chain.ledger.select([forged, good[0], good[0], good[1], foreign, greedy,
                                             good[2]])
    assert accepted == tuple(good)
    aggregate = chain.aggregate(0, 1, (), 0, [b"y"])
    assert "proposer" in chain.ledger.select([aggregate])[1][0][1]
    assert [(e, r.split(" ")[0]) for e, r in refused] == [
        (forged, "the"), (good[0], "nonce"), (foreign, "the"), (greedy, "gas")]
    assert "signature" in refused[0][1]
    assert "another chain" in refused[2][1]
    assert chain.add(accepted).receipts


def test_bad_envelopes_make_the_block_invalid(chain: Any) -> None:
    """A proposer that includes a forgery proposes an invalid block."""
    good = chain.transfer(0, b"bob", 1)
    for envelope, reason in (
        (replace(good, signature=bytes(64)), "transaction 0: .*signature"),
        (replace(good, gas_limit=7), "transaction 0: .*signature"),
        (sign_transaction(chain.devices[0], bytes(32), 1, GAS, good.payload), "another chain"),
        (sign_transaction(chain.devices[0], chain.ledger.chain, 1, 1 << 40, good.payload),
         "over the chain's"),
        (sign_transaction(chain.devices[0], chain.ledger.chain, 1, GAS,
                          RegisterDevice("late", "", 0)), "genesis"),
        (sign_transaction(chain.edges[0], chain.ledger.chain, 2, GAS,
                          DeployContract("late", bytes(32))), "genesis"),
        (chain.sign(chain.devices[1], CallTransaction("learning", "upload", ())), "not open"),
        (chain.sign(chain.devices[2], CallTransaction("learning", "initialize", ())), "not open"),
    ):
        _, refused = chain.ledger.select([envelope])
        assert len(refused) == 1
        with pytest.raises(BlockError, match=reason):
            chain.propose([envelope])
    assert chain.ledger.height == 0


def test_proposing_and_checking_leave_no_trace(chain: Any) -> None:
    """A backup re-executes before PREPARE without committing."""
    root, counts = chain.ledger.state.root, chain.ledger.store.counts()
    one = chain.propose([chain.transfer(0, b"bob", 1)])
    two = chain.propose([], edge=1)
    chain.ledger.check(one.block)
    chain.ledger.check(two.block)
    assert (chain.ledger.state.root, chain.ledger.store.counts()) == (root, counts)
    assert chain.ledger.height == 0
    chain.ledger.commit(two.block, chain.seal(two.block))
    with pytest.raises(BlockError):
        chain.ledger.check(one.block)


@pytest.mark.parametrize(("change", "reason"), [
    ({"chain": bytes(32)}, "another chain"),
    ({"height": 2}, "does not follow"),
    ({"height": 0}, "does not follow"),
    ({"parent": bytes(32)}, "parent"),
    ({"kind": "genesis"}, "one genesis block"),
    ({"kind": "candidate"}, "Tx_co"),
    ({"time": 1_000}, "not after"),
    ({"time": 0}, "not after"),
    ({"generation_rate": 5}, "generation rate"),
    ({"proposer": bytes(20)}, "proposer"),
    ({"transactions_root": bytes(32)}, "another root"),
    ({"state_root": bytes(32)}, "another state"),
    ({"receipts_root": bytes(32)}, "other receipts"),
], ids=repr)
def test_every_header_field_is_checked(
    make_chain: Callable[..., Any], change: dict[str, Any], reason: str
) -> None:
    """A block whose header differs in any field from what it must be is refused."""
    chain, backup = make_chain(), make_chain()
    block = chain.propose([chain.transfer(0, b"bob", 1)]).block
    backup.ledger.check(block)
    with pytest.raises(BlockError, match=reason):
        backup.ledger.check(replace(block, header=replace(block.header, **change)))


def test_an_earlier_epoch_is_refused(chain: Any) -> None:
    """Epochs do not run backwards."""
    chain.add(epoch=3)
    with pytest.raises(BlockError, match="epoch 2 comes before"):
        chain.propose(epoch=2)


def test_one_candidate_block_an_epoch(chain: Any) -> None:
    """One candidate block per epoch, the rest are auxiliary."""
    chain.add_epoch(1)
    update = chain.update(0, 1, 3, [b"x"])
    aggregate = chain.aggregate(0, 1, (0,), 3, [b"y"])
    with pytest.raises(BlockError, match="has its candidate block already"):
        chain.propose([update], kind="candidate", epoch=1, aggregate=aggregate)
    chain.propose([update], kind="auxiliary", epoch=1, aggregate=aggregate)


def test_a_lying_primary_s_aggregate_makes_its_block_invalid(chain: Any) -> None:
    """A wrong Tx_co never gets its block sealed, not even as a failed one."""
    update = chain.update(0, 1, 10, [b"x"])
    wrong = chain.aggregate(0, 1, (0,), 11, [b"y"])
    with pytest.raises(BlockError, match=r"Tx_co failed: .*do not add up"):
        chain.propose([update], kind="candidate", epoch=1, aggregate=wrong)


def test_the_aggregate_is_the_proposer_s_and_of_the_block_s_epoch(chain: Any) -> None:
    """The proposer answers for Tx_co; it stands apart from the updates."""
    update = chain.update(0, 1, 10, [b"x"])
    right = chain.aggregate(0, 1, (0,), 10, [b"y"])
    with pytest.raises(BlockError, match="not signed by the block's proposer"):
        chain.propose([update], kind="candidate", epoch=1, aggregate=right, edge=1)
    with pytest.raises(BlockError, match="another epoch"):
        chain.propose([update], kind="candidate", epoch=2, aggregate=right)
    with pytest.raises(BlockError, match="among the other transactions"):
        chain.propose([update, right], epoch=1)
    with pytest.raises(BlockError, match="no AggregateTransaction"):
        chain.propose([], kind="candidate", epoch=1, aggregate=update)
    chain.propose([update], kind="candidate", epoch=1, aggregate=right)


def test_blobs_must_be_there_and_be_what_the_transaction_says(
    make_chain: Callable[..., Any]
) -> None:
    """Bulky bytes are named by their root; a node without them fetches them first."""
    chain, backup = make_chain(), make_chain()
    update = chain.update(0, 1, 10, [b"a", b"b"])
    block = chain.propose([update], epoch=1).block
    with pytest.raises(MissingBlobsError) as caught:
        backup.ledger.check(block)
    assert caught.value.roots == (update.payload.root,)
    backup.ledger.put_blob(chain.ledger.blob(update.payload.root))
    backup.ledger.check(block)
    for change in ({"chunks": 3}, {"size": 6}):
        lie = replace(update.payload, **change)
        envelope = sign_transaction(chain.devices[0], chain.ledger.chain, 1, GAS, lie)
        block = chain.propose([envelope], epoch=1).block
        with pytest.raises(BlockError, match="its blob has 2 leaves"):
            backup.ledger.check(block)
        with pytest.raises(BlockError, match="its blob has 2 leaves"):
            chain.ledger.commit(block, chain.seal(block))


def test_a_seal_is_needed_to_commit(chain: Any) -> None:
    """Q COMMIT signatures of one view; else the store stays as it is."""
    block = chain.propose([chain.transfer(0, b"bob", 1)]).block
    for seal in (
        chain.sign_seal(block.digest, 1, signers=(0, 1)),
        chain.sign_seal(bytes(32), 1),
        chain.sign_seal(block.digest, 2),
        replace(chain.sign_seal(block.digest, 1), view=5),
    ):
        with pytest.raises(SealError):
            chain.ledger.commit(block, seal)
    assert (chain.ledger.height, chain.ledger.store.height()) == (0, 0)
    chain.ledger.commit(block, chain.sign_seal(block.digest, 1, signers=(1, 2, 3), view=4))
    assert chain.ledger.height == 1


def test_the_genesis_block_is_recomputed(chain: Any) -> None:
    """A genesis block that its record does not give is refused."""
    first = chain.ledger.store.block(0)
    for change in ({"state_root": bytes(32)}, {"time": 5}, {"proposer": bytes(20)}):
        wrong = replace(first, header=replace(first.header, **change))
        with pytest.raises(BlockError):
            Ledger.create(":memory:", chain.genesis, wrong)
    cut = replace(first, transactions=first.transactions[1:])
    with pytest.raises(BlockError):
        Ledger.create(":memory:", chain.genesis, cut)
    with pytest.raises(BlockError):
        Ledger.create(":memory:", replace(chain.genesis, salt=b"else"), first)


def test_genesis_is_made_by_the_first_edge_and_in_full(chain: Any) -> None:
    """Deployments and ownership statements all succeed, or there is no chain."""
    with pytest.raises(UsageError, match="first edge"):
        build_genesis(chain.genesis, chain.edges[1])
    device = Identity.generate(SeededRandomness(99))
    wrong = sign_transaction(device, chain.ledger.chain, 0, GAS,
                             ShareTransaction(1, "weights", 1, bytes(32), 1, 1))
    with pytest.raises(BlockError, match="transaction 2 failed"):
        build_genesis(chain.genesis, chain.edges[0], [wrong])


def test_contract_queries_read_and_refuse(chain: Any) -> None:
    """The outside may ask a view; nothing changes, refusals are the caller's."""
    assert chain.ledger.call("learning", "balance_of", b"treasury") == 1_000
    for contract, function in (("none", "x"), ("learning", "none")):
        with pytest.raises(UsageError):
            chain.ledger.call(contract, function)


def test_blocks_of_another_ledger_s_future_do_not_fit(make_chain: Callable[..., Any]) -> None:
    """Sequence = height: a block two ahead waits for its parent."""
    chain, other = make_chain(), make_chain()
    chain.add([chain.transfer(0, b"bob", 1)])
    block = chain.propose([chain.transfer(0, b"bob", 1)]).block
    with pytest.raises(BlockError, match="height 2 does not follow 0"):
        other.ledger.check(block)


def test_an_update_is_recorded_by_its_contract(chain: Any) -> None:
    """Algorithm 2, lines 9-10: the typed payload calls the learning contract."""
    update = chain.update(0, 1, 17, [b"x"])
    assert isinstance(update.payload, UpdateTransaction)
    (receipt,) = chain.add([update], epoch=1).receipts
    assert receipt.events[0].name == "uploaded"
    assert chain.ledger.call("learning", "samples_of", 1, "weights",
                             chain.devices[0].address) == 17


def test_creating_over_a_file_is_refused(make_chain: Callable[..., Any], tmp_path: Any) -> None:
    """Nothing is overwritten."""
    made = make_chain(tmp_path / "ledger.sqlite")
    with pytest.raises(StoreError, match="exists already"):
        Ledger.create(tmp_path / "ledger.sqlite", made.genesis, made.ledger.store.block(0))
    made.ledger.close()
