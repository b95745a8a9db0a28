"""The norm check in the two contracts: order, who may say what, and who is left out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.chain import (
    BlockError,
    Envelope,
    NormStatement,
    ProbeTransaction,
    ShareTransaction,
    UpdateTransaction,
    header_digest,
    pack_blob,
    unpack_blob,
)
from bdn.errors import UsageError
from bdn.nodes.checking import NormCheck
from bdn.nodes.probes import probe_phase
from bdn.nodes.settings import WEIGHTS, Settings

Mini = Callable[..., Any]
SIZE = 120
SAMPLES = (4, 5, 6)


def checked(mini: Mini, **options: Any) -> Any:
    """A chain whose updates are probed once each, with the key made."""
    chain = mini(**{"norm_factor": 3000, "norm_probes": 1, "model_size": SIZE, "threshold": 1,
                    **options})
    chain.make_key()
    return chain


def vector(position: int, size: float = 0.1) -> np.ndarray:
    rng = np.random.default_rng(position)
    return np.append(np.clip(rng.normal(size=SIZE) * size, -1, 1), 2.0)


def updates(chain: Any, sizes: Sequence[float] = (0.1, 0.1, 0.1)) -> list[Any]:
    return [chain.update(i, vector(i, size), samples)
            for i, (size, samples) in enumerate(zip(sizes, SAMPLES, strict=True))]


def probes(chain: Any) -> ProbeTransaction:
    """What an honest proposer makes."""
    return NormCheck(chain.ledger, chain.host).probes()


def put_own(chain: Any, payload: Any, *others: Envelope, kind: str = "auxiliary") -> Any:
    """A sealed block whose proposer adds ``payload``."""
    own = chain.sign(chain.edge, payload)
    return chain.commit(chain.propose(others, own, payload.epoch, kind))


def share(chain: Any, position: int, phase: str) -> Any:
    root = chain.ledger.put_blob(b"\x81\x40")
    return chain.sign(chain.devices[position], ShareTransaction(1, phase, position + 1, root, 1, 2))


def state(chain: Any, position: int, norms: Sequence[int], **changes: Any) -> Any:
    payload = replace(NormStatement(1, WEIGHTS, position + 1, tuple(norms)), **changes)
    return chain.sign(chain.devices[position], payload)


def probed(mini: Mini, **options: Any) -> Any:
    """A chain on which the probes of three updates stand."""
    chain = checked(mini, **options)
    chain.put(*updates(chain))
    assert put_own(chain, probes(chain))[-1].ok
    return chain


def tx_co(chain: Any, sealed: Sequence[Envelope], keep: Sequence[int]) -> Any:
    """Tx_co over the devices at ``keep``."""
    return chain.tx_co([sealed[i] for i in keep])


# --- the order ----------------------------------------------------------------------------------


def test_the_check_goes_through_its_blocks_in_order(mini: Mini) -> None:
    """docs/norm-check.md: updates, probes, shares of them, norms, Tx_co over those in line."""
    chain = checked(mini)
    sealed = updates(chain, (0.1, 0.9, 0.1))
    seen = [chain.call("awaited")["what"]]

    def step(action: Callable[[], Any]) -> None:
        action()
        seen.append(chain.call("awaited")["what"])

    step(lambda: chain.put(*sealed))
    step(lambda: put_own(chain, probes(chain)))
    step(lambda: chain.put(share(chain, 0, probe_phase(WEIGHTS))))
    order = sorted(range(3), key=lambda i: chain.devices[i].address)
    norms = [900 if i == 1 else 100 for i in order]
    step(lambda: chain.put(state(chain, 0, norms)))
    in_line = chain.call("in_line_of", 1, WEIGHTS)
    assert in_line == sorted(chain.devices[i].address for i in (0, 2))
    assert chain.call("norms_of", 1, WEIGHTS)[chain.devices[1].address] == 900
    own = tx_co(chain, sealed, (0, 2))
    step(lambda: chain.commit(chain.propose((), own, 1, "candidate")))
    assert seen == ["updates", "probes", "shares", "norms", "aggregate", "shares"]
    assert [chain.call("balance_of", device.address) for device in chain.devices] == [8, 0, 12]


def test_without_the_check_nothing_of_it_is_taken(mini: Mini) -> None:
    """Off by default: the updates and Tx_co share the candidate block, and probes are refused."""
    chain = mini(model_size=SIZE)
    chain.make_key()
    sealed = updates(chain)
    chain.put(*sealed)
    assert chain.call("awaited")["what"] == "updates"
    with pytest.raises(UsageError, match="ciphertexts"):
        probes(chain)
    own = ProbeTransaction(1, WEIGHTS, tuple(sorted(e.address for e in sealed)), bytes(32), 1, 1)
    chain.nonces.clear()
    with pytest.raises(BlockError):
        put_own(chain, replace(own, root=chain.ledger.put_blob(b"\x81\x40"), size=2))


def test_what_is_checked(mini: Mini) -> None:
    """Gradients poison as well as weights; a loss is one number and is never probed."""
    on, off = checked(mini), mini()
    assert [on.call("is_checked", phase) for phase in ("gradient", "weights", "loss")] == [
        True, True, False]
    assert not any(off.call("is_checked", phase) for phase in ("gradient", "weights", "loss"))
    assert [on.settings.is_checked(phase) for phase in ("gradient", "weights", "loss")] == [
        True, True, False]


# --- the proposer -------------------------------------------------------------------------------


def test_the_signs_come_after_the_last_update(mini: Mini) -> None:
    """Probes in the block of an update could be foreseen by who sealed it: refused."""
    chain = checked(mini)
    sealed = updates(chain)
    chain.put(*sealed[:2])
    chain.nonces.clear()
    late = chain.sign(chain.devices[2], sealed[2].payload)
    named = sorted((e.address, {"root": e.payload.root, "chunks": e.payload.chunks,
                                "size": e.payload.size, "samples": e.payload.sample_count})
                   for e in sealed)
    parent = header_digest(chain.ledger.head)
    product = chain.host.probes(chain.call("sealing_terms"), 1, WEIGHTS, parent, named)
    NormCheck(chain.ledger, chain.host).keep(product[0])
    foreseen = ProbeTransaction(1, WEIGHTS, tuple(device for device, _ in named), *product)
    with pytest.raises(BlockError, match="after the last update"):
        put_own(chain, foreseen, late)
    chain.nonces.clear()
    late = chain.sign(chain.devices[2], sealed[2].payload)
    with pytest.raises(BlockError, match="whose updates verify"):
        put_own(chain, probes(chain), late)  # those of the first two alone


def test_probes_follow_from_the_previous_block_alone(mini: Mini) -> None:
    """A proposer that draws other signs, or leaves a device out, gets no block."""
    chain = checked(mini)
    chain.put(*updates(chain))
    honest = probes(chain)
    chain.put(share(chain, 0, "none"))  # another block before the probes: other signs
    other = probes(chain)
    assert other.root != honest.root
    assert other.devices == honest.devices
    with pytest.raises(BlockError, match="previous block's digest"):
        put_own(chain, honest)
    chain.nonces.clear()
    with pytest.raises(BlockError, match="not the devices"):
        put_own(chain, replace(other, devices=other.devices[:2]))
    chain.nonces.clear()
    with pytest.raises(BlockError, match="holds Tx_co"):
        put_own(chain, other, kind="candidate")
    chain.nonces.clear()
    assert put_own(chain, other)[-1].ok
    with pytest.raises(BlockError, match="one probe"):
        put_own(chain, probes(chain))


def test_only_the_proposer_probes(mini: Mini) -> None:
    chain = checked(mini)
    chain.put(*updates(chain))
    imposter = chain.sign(chain.devices[0], probes(chain))
    with pytest.raises(BlockError):
        chain.commit(chain.propose((), imposter, 1))
    chain.nonces.clear()
    with pytest.raises(BlockError, match="among the other transactions"):
        chain.put(chain.sign(chain.edge, probes(chain)))


def test_an_update_that_does_not_verify_is_not_probed(mini: Mini) -> None:
    """Copied ciphertexts would be probed in another's name."""
    chain = checked(mini, minimum_contributors=2)
    sealed = updates(chain)
    stolen = sealed[0].payload
    assert isinstance(stolen, UpdateTransaction)
    chain.nonces.clear()
    thief = chain.sign(chain.devices[2], stolen)
    chain.put(*sealed[:2], thief)
    payload = probes(chain)
    assert payload.devices == tuple(sorted(device.address for device in chain.devices[:2]))
    check = NormCheck(chain.ledger, chain.host)
    block = chain.ledger.store.block(chain.ledger.height)
    with pytest.raises(BlockError, match="does not verify"):
        check.check_commitment(block)
    assert put_own(chain, payload)[-1].ok


def test_updates_are_fixed_once_they_are_probed(mini: Mini) -> None:
    chain = checked(mini)
    sealed = updates(chain)
    late = sealed[2].payload
    chain.put(*sealed[:2])
    assert put_own(chain, probes(chain))[-1].ok
    chain.nonces.clear()
    receipt = chain.put(chain.sign(chain.devices[2], late))[0]
    assert "fixed already" in receipt.error
    assert not chain.call("is_open", 1, WEIGHTS)


# --- the statements -----------------------------------------------------------------------------


def failure(receipts: Any) -> str:
    assert not receipts[0].ok
    return str(receipts[0].error)


def test_it_takes_t_identical_statements(mini: Mini) -> None:
    """t − 1 colluding key holders cannot make a norm, nor keep t honest ones from making it."""
    chain = probed(mini, threshold=2, key_holders=3, minimum_contributors=3)
    chain.put(state(chain, 0, (1, 1, 999)))
    assert chain.call("wants_norms", 1, WEIGHTS)
    chain.put(state(chain, 1, (7, 8, 9)))
    with pytest.raises(UsageError, match="not known"):
        chain.call("norms_of", 1, WEIGHTS)
    chain.put(state(chain, 2, (7, 8, 9)))
    assert sorted(chain.call("norms_of", 1, WEIGHTS).values()) == [7, 8, 9]
    assert not chain.call("wants_norms", 1, WEIGHTS)


@pytest.mark.parametrize(
    ("position", "changes", "reason"),
    [
        (0, {"norms": (1, 2)}, "one norm a probed device"),
        (0, {"index": 2}, "another device holds"),
        (2, {}, "no such key holder"),
        (0, {"index": 0}, "no such key holder"),
        (0, {"epoch": 2}, "nothing was probed"),
        (0, {"phase": "gradient"}, "nothing was probed"),
    ],
)
def test_statements_out_of_place_fail(
    mini: Mini, position: int, changes: dict[str, Any], reason: str
) -> None:
    changes = dict(changes)
    chain = probed(mini)
    norms = changes.pop("norms", (1, 2, 3))
    assert reason in failure(chain.put(state(chain, position, norms, **changes)))


def test_one_statement_a_holder(mini: Mini) -> None:
    chain = probed(mini, threshold=2, minimum_contributors=3)
    first, second = state(chain, 0, (1, 2, 3)), state(chain, 0, (1, 2, 3))
    receipts = chain.put(first, second)
    assert receipts[0].ok
    assert "one statement" in failure(receipts[1:])
    assert chain.call("wants_norms", 1, WEIGHTS)


def test_shares_of_probes_are_key_holders_and_once(mini: Mini) -> None:
    chain = probed(mini)
    wrong = share(chain, 0, "gradient-probe")
    assert "nothing to open" in failure(chain.put(wrong))
    assert chain.put(share(chain, 0, probe_phase(WEIGHTS)))[0].ok
    assert "one share" in failure(chain.put(share(chain, 0, probe_phase(WEIGHTS))))
    assert "no such key holder" in failure(chain.put(share(chain, 2, probe_phase(WEIGHTS))))


@given(data=st.data())
def test_who_is_in_line_is_who_is_within_the_factor_of_the_median(
    mini: Mini, data: st.DataObject
) -> None:
    """Integer arithmetic in the contract against Python's fractions of the same rule."""
    factor = data.draw(st.integers(1000, 5000))
    norms = data.draw(st.lists(st.integers(0, 1 << 62), min_size=3, max_size=3)
                      | st.lists(st.integers(0, 12), min_size=3, max_size=3))
    chain = probed(mini, norm_factor=factor, minimum_contributors=2)
    receipt = chain.put(state(chain, 0, norms))[0]
    assert receipt.ok, receipt.error
    order = sorted(device.address for device in chain.devices)
    expected = [device for device, norm in zip(order, norms, strict=True)
                if 1000 * norm <= factor * int(median(norms))]
    assert chain.call("in_line_of", 1, WEIGHTS) == expected
    assert len(expected) >= 2
    left_out = [event for event in receipt.events if event.name == "left_out"]
    assert [event.fields["device"] for event in left_out] == [d for d in order
                                                             if d not in expected]


# --- Tx_co --------------------------------------------------------------------------------------


def test_tx_co_adds_up_exactly_the_devices_in_line(mini: Mini) -> None:
    chain = checked(mini)
    sealed = updates(chain)
    terms = chain.call("sealing_terms")
    chain.put(*sealed)
    own = tx_co(chain, sealed, (0, 1, 2))
    with pytest.raises(BlockError, match="norms are not known"):
        chain.commit(chain.propose((), own, 1, "candidate"))
    put_own(chain, probes(chain))
    order = sorted(range(3), key=lambda i: chain.devices[i].address)
    chain.put(state(chain, 0, [50 if i == 2 else 1 for i in order]))
    for keep in [(0, 1, 2), (0, 2)]:
        own = tx_co(chain, sealed, keep)
        with pytest.raises(BlockError, match="norms are in line"):
            chain.commit(chain.propose((), own, 1, "candidate"))
        chain.nonces.clear()
    chain.commit(chain.propose((), tx_co(chain, sealed, (0, 1)), 1, "candidate"))
    cipher = chain.host.ciphers.get(terms, 1, WEIGHTS)
    expected = sum(SAMPLES[i] * cipher.quantise(vector(i)) for i in (0, 1))
    assert np.array_equal(chain.opened(terms=terms), expected)


def test_too_few_in_line_stop_the_epoch_and_it_is_said(mini: Mini) -> None:
    """The minimum of contributors still holds: as if the others had not answered."""
    chain = probed(mini, minimum_contributors=3)
    chain.put(state(chain, 0, (1, 1, 99)))
    awaited = chain.call("awaited")
    assert awaited == {"what": "devices whose norms are in line", "who": [], "needed": 1}


# --- settings -----------------------------------------------------------------------------------


def test_the_ring_masked_cipher_is_refused_with_the_reason(mini: Mini) -> None:
    with pytest.raises(UsageError, match="read the whole update; take --cipher packed"):
        mini(norm_factor=3000, cipher="ring-masked")
    with pytest.raises(UsageError, match="at least 1"):
        mini(norm_factor=999)
    with pytest.raises(UsageError, match="at least one probe"):
        mini(norm_probes=0)
    plain = mini().settings.to_plain()
    assert plain["norm_factor"] == 0
    assert Settings.from_plain(plain).checks_norms is False


def test_a_small_model_is_refused_before_anything_is_sealed(mini: Mini) -> None:
    """A probe of one ciphertext is that ciphertext."""
    chain = mini(norm_factor=3000, norm_probes=1, model_size=30)
    chain.make_key()
    with pytest.raises(UsageError, match="reveal too much"):
        chain.cipher()


def test_a_probe_blob_holds_r_ciphertexts_a_device(mini: Mini) -> None:
    chain = checked(mini)
    chain.put(*updates(chain))
    payload = probes(chain)
    leaves = unpack_blob(chain.ledger.blob(payload.root))
    assert len(leaves) == payload.chunks == 3
    assert len(pack_blob(leaves)) == payload.size
