"""The learning and mining contracts against the paper: Eqs. (4) and (5), Algorithm 2, rewards."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.chain import (
    MAX_DEVICES,
    AggregateTransaction,
    BlockError,
    CallTransaction,
    Event,
    InclusionProof,
    Receipt,
    ShareTransaction,
    device_bits,
    encode_envelope,
    transaction_digest,
    verify_envelope,
    without_receipt,
)
from bdn.chain.blocks import encode_receipt
from bdn.chain.contracts.gas import LATEST, gas_table
from bdn.chain.light import opened
from bdn.encoding import decode_record, encode_record
from bdn.errors import UsageError
from bdn.experiments.provisioning import TREASURY
from bdn.nodes.messages import Transactions, decode_message, encode_message
from bdn.nodes.settings import WEIGHTS

Mini = Callable[..., Any]
VECTOR = np.array([0.5, -0.25, 1.0, 2.0])


def ready(mini: Mini, **options: Any) -> Any:
    chain = mini(**options)
    chain.make_key()
    return chain


def updates(chain: Any, samples: tuple[int, ...] = (4, 5, 6), epoch: int = 1) -> list[Any]:
    return [chain.update(i, VECTOR, count, epoch) for i, count in enumerate(samples)]


# --- the equations ------------------------------------------------------------------------------


def literal_eq_5(w_prev: Fraction, locals_: list[Fraction], s_k: list[int]) -> Fraction:
    """Eq. (5) as printed, read on plaintexts: × is +, a power is a multiple, 1/s is 1/s.

    E[w^(p)] = E[w^(p-1)] × (1/s) ∏ E[w_k]^{s_k} × E[−w^(p-1)]^{s_k}, the product over both.
    """
    s = sum(s_k)
    inside = sum((count * w + count * -w_prev for w, count in zip(locals_, s_k, strict=True)),
                 start=Fraction(0))
    return w_prev + Fraction(1, s) * inside


def eq_4(w_prev: Fraction, locals_: list[Fraction], s_k: list[int]) -> Fraction:
    """w^(p) = w^(p-1) + (1/s) Σ s_k (w_k − w^(p-1))."""
    s = sum(s_k)
    return w_prev + sum((count * (w - w_prev) for w, count in zip(locals_, s_k, strict=True)),
                        start=Fraction(0)) / s


@given(data=st.data())
def test_eq_5_literal_is_eq_4_is_what_the_mining_contract_computes(
    mini: Mini, data: st.DataObject
) -> None:
    """Literal Eq. (5) over the rationals = Eq. (4) = ours, exactly.

    Models are drawn on the fixed-point grid, so that nothing is rounded anywhere.
    """
    cipher_name = data.draw(st.sampled_from(["packed", "ring-masked"]))
    chain = ready(mini, cipher=cipher_name)
    terms, cipher = chain.call("sealing_terms"), chain.cipher()
    levels = 2 ** (chain.settings.value_bits - 1) - 1
    delta_levels = data.draw(st.lists(
        st.lists(st.integers(-levels, levels), min_size=4, max_size=4), min_size=3, max_size=3))
    s_k = data.draw(st.lists(st.integers(4, 40), min_size=3, max_size=3))
    steps = [Fraction(float(step)) for step in np.broadcast_to(cipher.step, (4,))]
    w_prev = [Fraction(data.draw(st.integers(-100, 100)), 7) for _ in range(4)]

    sealed = [chain.update(k, np.array(row) * np.asarray(cipher.step, dtype=np.float64), s_k[k])
              for k, row in enumerate(delta_levels)]
    receipts = chain.aggregate(sealed)
    assert receipts[-1].ok, receipts[-1].error
    opened = chain.opened(terms=terms)

    for i in range(4):
        locals_ = [w_prev[i] + row[i] * steps[i] for row in delta_levels]
        ours = w_prev[i] + int(opened[i]) * steps[i] / sum(s_k)
        assert literal_eq_5(w_prev[i], locals_, s_k) == eq_4(w_prev[i], locals_, s_k) == ours


# --- Algorithm 2, in order ----------------------------------------------------------------------


def test_the_contract_says_what_it_waits_for(mini: Mini) -> None:
    chain = mini()
    seen = [chain.call("awaited")["what"]]
    chain.make_key()
    seen.append(chain.call("awaited")["what"])
    chain.aggregate(updates(chain))
    seen.append(chain.call("awaited")["what"])
    blob_root = chain.ledger.put_blob(b"\x81\x40")
    share = ShareTransaction(1, WEIGHTS, 1, blob_root, 1, 2)
    assert chain.put(chain.sign(chain.devices[0], share))[0].ok
    seen.append(chain.call("awaited")["what"])
    assert seen == ["exchange keys", "updates", "shares", "updates"]


def test_a_registration_takes_as_much_work_however_many_stand_before_it(mini: Mini) -> None:
    """Gas counts the work; numbers from 24 to 255 and these names take as many bytes each."""
    chain = mini(devices=250)
    receipts = chain.ledger.store.receipts(0)[-250:]
    assert len({receipt.gas_used for receipt in receipts[99:]}) == 1
    assert chain.call("registered") == [device.address for device in chain.devices]
    assert chain.call("awaited")["who"] == [device.address for device in chain.devices]


def test_no_more_updates_are_added_up_than_there_can_be_devices(mini: Mini) -> None:
    chain = mini()
    record = {"root": bytes(32), "chunks": 0, "size": 0, "samples": 1}
    product = chain.host.functions()["weighted_sum"]
    for call in (product, lambda arguments: product.price(arguments, gas_table(LATEST))):
        with pytest.raises(UsageError, match="1048577 updates"):
            call([[b"", b""], 1, WEIGHTS, [record] * (MAX_DEVICES + 1)])


def test_what_a_device_reads_of_tx_co_takes_one_bit_per_device(mini: Mini) -> None:
    """The receipt says of each device what it is paid and what is delayed; it is left out."""
    chain = mini()
    sizes = []
    for n in (1, 1001):
        tx_co = chain.sign(chain.edge, AggregateTransaction(
            1, WEIGHTS, bytes(32), 1 << 20, 1 << 30, device_bits(range(8 * n)), 1 << 40))
        verify_envelope(tx_co, chain.chain)
        told = [Event("learning", "paid", {"source": bytes(20), "target": bytes(20), "amount": k})
                for k in range(8 * n)]
        receipt = Receipt(transaction_digest(tx_co), True, "ok", 1, None, tuple(told), None)
        whole = InclusionProof(1, 0, 1, encode_envelope(tx_co), encode_receipt(receipt), (), ())
        proof = without_receipt(whole)
        answer = decode_message(encode_message(Transactions(1, (encode_record(proof),))))
        assert decode_record(InclusionProof, answer.proofs[0]) == proof
        envelope, told_by_it = opened(proof)
        assert (envelope, told_by_it.ok, told_by_it.events) == (tx_co, True, ())
        sizes.append(len(encode_message(answer)))
    assert sizes[1] - sizes[0] < 1000 + 10



def failure(receipt: Receipt) -> str:
    assert not receipt.ok
    return str(receipt.error)


@pytest.mark.parametrize(
    ("position", "options", "reason"),
    [
        (0, {"epoch": 2}, "is not open"),
        (0, {"phase": "loss"}, "is not open"),
        (0, {"phase": "gradient"}, "is not open"),
        (0, {"local_ms": 3}, "implausible: 4 samples in 3 ms"),
        (0, {"sample_count": 0}, "without samples"),
    ],
)
def test_an_upload_out_of_order_or_implausible_fails_with_its_reason(
    mini: Mini, position: int, options: dict[str, Any], reason: str
) -> None:
    chain = ready(mini)
    changes = {key: options[key] for key in options if key in ("epoch", "phase", "sample_count")}
    local_ms = options.get("local_ms", 1000)
    envelope = chain.update(position, VECTOR, 4, local_ms=local_ms, **{
        key: value for key, value in changes.items() if key == "sample_count"})
    if "epoch" in changes or "phase" in changes:
        chain.nonces.clear()
        envelope = chain.sign(chain.devices[position], replace(envelope.payload, **changes))
    assert reason in failure(chain.put(envelope)[0])


def test_an_update_states_the_samples_that_its_device_registered_with(mini: Mini) -> None:
    """Twice the samples would weigh twice, and break the budget that Σ s_k was declared for."""
    chain = ready(mini, samples=4)
    refused = chain.put(chain.update(0, VECTOR, 8))[0]
    assert "another sample count" in failure(refused)
    assert chain.put(chain.update(1, VECTOR, 4))[0].ok


def test_a_second_upload_and_a_strangers_fail(mini: Mini) -> None:
    chain = ready(mini)
    first = chain.update(0, VECTOR, 4)
    second = chain.update(0, VECTOR, 4)
    receipts = chain.put(first, second)
    assert receipts[0].ok
    assert "one update" in failure(receipts[1])
    stranger = chain.sign(chain.edge, first.payload)
    assert "not a registered device" in failure(chain.put(stranger)[0])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"total_samples": 14}, "do not add up"),
        ({"root": bytes(32)}, "not the weighted product"),
        ({"contributors": b""}, "too few"),
        ({"epoch": 2}, "no such update"),
    ],
    ids=["wrong total", "wrong root", "nobody", "another epoch"],
)
def test_a_wrong_aggregate_makes_the_block_invalid(
    mini: Mini, changes: dict[str, Any], reason: str
) -> None:
    """The mining contract verifies everything that Tx_co states."""
    chain = ready(mini)
    if "root" in changes:
        changes = {**changes, "root": chain.ledger.put_blob(b"\x81\x40"), "chunks": 1, "size": 2}
    with pytest.raises(BlockError, match=reason):
        chain.aggregate(updates(chain), **changes)
    assert chain.call("current") == [0, ""]


def test_contributors_must_be_distinct_enough_and_comparable(mini: Mini) -> None:
    """Too few contributors, or one that outweighs the rest, would lay an update open."""
    chain = ready(mini)
    sealed = updates(chain)
    for contributors, reason in [(device_bits([0]), "too few"),
                                 (device_bits([0, 1, 2, 3]), "no such|missing|key"),
                                 (device_bits([0, 1, 8]), "more devices than there are")]:
        with pytest.raises(BlockError, match=reason):
            chain.aggregate(sealed, contributors=contributors)
        chain.nonces.clear()
    with pytest.raises(BlockError, match="too unequal"):
        chain.aggregate([chain.update(0, VECTOR, 1), chain.update(1, VECTOR, 30)])
    chain.nonces.clear()


def test_only_the_proposer_aggregates(mini: Mini) -> None:
    chain = ready(mini)
    sealed = updates(chain)
    tx_co = chain.tx_co(sealed).payload
    chain.nonces.clear()
    imposter = chain.sign(chain.devices[0], tx_co)
    with pytest.raises(BlockError):
        chain.commit(chain.propose(sealed[1:], imposter, 1, "candidate"))


# --- rewards ------------------------------------------------------------------------------------


def holdings(chain: Any) -> int:
    accounts = [TREASURY, chain.edge.address, *(d.address for d in chain.devices)]
    return sum(chain.call("balance_of", account) for account in accounts)


def test_rewards_are_paid_and_the_supply_is_conserved(mini: Mini) -> None:
    """Section 4: the processing reward to the proposer, data rewards by s_k from the proposer."""
    chain = ready(mini)
    chain.aggregate(updates(chain, (4, 5, 6)))
    assert [chain.call("balance_of", d.address) for d in chain.devices] == [8, 10, 12]
    assert chain.call("balance_of", chain.edge.address) == 300 - 30
    assert chain.call("balance_of", TREASURY) == 10_000 - 300
    assert holdings(chain) == chain.call("total_supply") == 10_000


def test_an_empty_account_delays_a_reward_and_never_an_epoch(mini: Mini) -> None:
    """What cannot be paid is owed, and paid when it can be."""
    chain = ready(mini, treasury=10)
    receipts = chain.aggregate(updates(chain, (4, 5, 6)))
    assert receipts[-1].ok
    assert chain.call("owed_by", TREASURY, chain.edge.address) == 290
    paid = [chain.call("balance_of", d.address) for d in chain.devices]
    owed = [chain.call("owed_by", chain.edge.address, d.address) for d in chain.devices]
    assert [p + o for p, o in zip(paid, owed, strict=True)] == [8, 10, 12]
    assert sum(paid) == 10
    assert holdings(chain) == 10
    # a device gives tokens back, and a creditor collects
    rich = max(range(3), key=lambda i: paid[i])
    creditor = next(i for i in range(3) if owed[i])
    chain.put(chain.sign(chain.devices[rich], CallTransaction(
        "learning", "transfer", (chain.edge.address, paid[rich]))))
    chain.put(chain.sign(chain.devices[creditor], CallTransaction(
        "learning", "collect", (chain.edge.address,))))
    expected = paid[creditor] * (creditor != rich) + min(owed[creditor], paid[rich])
    assert chain.call("balance_of", chain.devices[creditor].address) == expected
    assert holdings(chain) == 10


@pytest.mark.parametrize(
    "function", ["pay", "pay_data_rewards", "record_aggregate", "initialize"])
def test_nobody_calls_what_only_the_mining_contract_may(mini: Mini, function: str) -> None:
    chain = ready(mini)
    arguments = {"pay": (TREASURY, chain.devices[0].address, 5), "initialize": ((),),
                 "pay_data_rewards": (chain.edge.address, 1, (chain.devices[0].address,)),
                 "record_aggregate": (1, WEIGHTS, bytes(32), 1, 1, b"", 1)}[function]
    before = holdings(chain), chain.call("balance_of", chain.devices[0].address)
    envelope = chain.sign(chain.devices[0], CallTransaction("learning", function, arguments))
    try:
        receipts = chain.put(envelope)
    except BlockError:
        receipts = ()
    assert not any(receipt.ok for receipt in receipts)
    assert (holdings(chain), chain.call("balance_of", chain.devices[0].address)) == before


# --- more epochs --------------------------------------------------------------------------------


def closed(mini: Mini) -> Any:
    """A chain whose only epoch and closing loss are aggregated; two of three devices must agree."""
    chain = ready(mini, epochs=1)
    chain.aggregate(updates(chain))
    losses = [chain.update(i, np.array([1.0]), count, 1, "loss")
              for i, count in enumerate((4, 5, 6))]
    chain.commit(chain.propose(losses, chain.tx_co(losses), 1))
    return chain


def ask(chain: Any, who: Any, epochs: int) -> Receipt:
    """The receipt of a device's request for ``epochs`` epochs."""
    call = CallTransaction("learning", "extend", (epochs,))
    return chain.put(chain.sign(who, call))[0]


def test_a_closed_run_is_extended_when_enough_devices_ask_for_the_same(mini: Mini) -> None:
    """Different numbers do not add up; a device that changes its mind counts once."""
    chain = closed(mini)
    first, second, third = chain.devices
    supply = chain.call("total_supply")
    assert not chain.call("is_open", 2, WEIGHTS)
    for who, epochs in ((first, 5), (second, 3), (first, 4)):
        assert ask(chain, who, epochs).ok
        assert chain.call("epochs_of_run") == 1
    assert ask(chain, third, 5).ok, "the first no longer asks for 5"
    assert chain.call("epochs_of_run") == 1
    granted = ask(chain, third, 3)
    assert [event.name for event in granted.events] == ["asked", "extended"]
    assert chain.call("epochs_of_run") == 3
    assert chain.call("is_open", 2, WEIGHTS)
    assert not chain.call("is_open", 1, "loss")
    assert chain.call("total_supply") == supply + 2 * chain.settings.processing_reward
    assert chain.call("awaited")["what"] in ("shares", "updates")


def test_only_a_device_extends_a_closed_run_and_only_upwards(mini: Mini) -> None:
    running = ready(mini, epochs=2)
    assert "after it has closed" in str(ask(running, running.devices[0], 5).error)
    running.aggregate(updates(running))
    assert "after it has closed" in str(ask(running, running.devices[0], 5).error)
    chain = closed(mini)
    assert "not a registered device" in str(ask(chain, chain.edge, 5).error)
    for epochs in (1, 0, -3, 10**6 + 1):
        assert "ask for more" in str(ask(chain, chain.devices[0], epochs).error)
    assert ask(chain, chain.devices[0], 2).ok
    assert "asked already" in str(ask(chain, chain.devices[0], 2).error)
