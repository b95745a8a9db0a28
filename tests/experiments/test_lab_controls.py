"""A defence that is taken away is seen to fail: the lab's findings can be bad ones."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.chain import verify
from bdn.experiments.lab import attackers, collusion, lies, poison, privacy
from bdn.experiments.lab import experiment as find
from bdn.experiments.lab.small_runs import small_run, undisturbed
from bdn.experiments.run import opened_run
from bdn.nodes.device.device import Device
from bdn.nodes.edge.application import LedgerApplication
from bdn.nodes.vector_host import VectorHost
from bdn.paillier import RingMaskedCipher

pytestmark = pytest.mark.usefixtures("compiled_once")


# --- defences taken away ------------------------------------------------------------------------


def test_weights_applied_by_the_edge_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weight goes inside the message."""
    real = privacy.attack
    monkeypatch.setattr(privacy, "attack", lambda cipher, vectors, weights, _form, rng: real(
        cipher, vectors, weights, "edge", rng))
    assert not find("edge-weights")(512).held


@pytest.mark.slow
def test_backups_that_do_not_mind_what_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check a primary censors a device at will."""
    monkeypatch.setattr(LedgerApplication, "_check_circumstances", lambda _self, _block: None)
    monkeypatch.setattr(lies, "_swallowed",  # the other two scenes are not the point
                        lambda *_, **__: (undisturbed(small_run(512)), True))
    finding = find("withholding-primary")(512)
    assert not finding.held
    assert "Contributors 3 of 4" in finding.happened[0]


@pytest.mark.slow
def test_devices_that_open_whatever_is_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device's own last word is what keeps one update closed."""
    monkeypatch.setattr(Device, "_may_open", lambda _self, _at: True)
    monkeypatch.setattr(collusion, "_honest_servers", lambda _bits: "too few contributors")
    finding = find("decryption-oracle")(512)
    assert not finding.held
    assert "4 devices opened it" in finding.happened[1]


@pytest.mark.slow
def test_devices_that_share_two_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most one share per (epoch, phase)."""
    monkeypatch.setattr(Device, "_may_open", lambda _self, _at: True)
    assert not find("second-sum")(512).held


@pytest.mark.slow
def test_updates_without_a_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the proof a copy of another's ciphertexts gets into the sum."""
    monkeypatch.setattr(VectorHost, "verify", lambda *_: None)
    finding = find("forged-transaction")(512)
    assert not finding.held
    assert "contributors device-1, device-2, device-3, device-4" in finding.happened[2]


@pytest.mark.slow
def test_a_cipher_that_does_not_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a_j·σ_k the eavesdropper sees the update."""
    monkeypatch.setattr(RingMaskedCipher, "masks",
                        lambda self, _secret, _norm=None: np.zeros(self.length, np.uint64))
    finding = find("eavesdropper")(512)
    assert not finding.held


@pytest.mark.slow
def test_a_verifier_that_believes_receipts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every receipt is recomputed; a verifier that does not is found out."""
    monkeypatch.setattr(verify, "_verify_receipts", lambda *_: None)
    finding = find("tampered-ledger")(512)
    assert not finding.held
    assert any("receipt" in line and "NOT NOTICED" in line for line in finding.happened)


# --- the measures themselves --------------------------------------------------------------------


@given(st.integers(0, 40), st.integers(0, 20), st.integers(2, 60))
def test_what_stands_in_the_clear_is_found_wherever_it_stands(
    before: int, after: int, length: int
) -> None:
    """The eavesdropper's search: any alignment, and nothing where there is nothing."""
    numbers = np.random.default_rng(before)
    vector = numbers.normal(size=length).astype("<f4")
    noise = numbers.bytes(before)
    assert privacy.share_found(vector, [b"", noise + vector.tobytes() + bytes(after)]) == 1.0
    assert privacy.share_found(vector, [numbers.bytes(4 * length + 40)]) == 0.0


def test_half_of_a_vector_is_half_found() -> None:
    """Pairs that cross the end of what was sent are not found."""
    vector = np.random.default_rng(1).normal(size=101).astype("<f4")
    found = privacy.share_found(vector, [vector[:51].tobytes()])
    assert found == 0.5


def test_similarity_is_the_papers() -> None:
    """Section 5: 1 for the update itself, 0.5 for a guess of nothing."""
    u = np.array([3.0, 4.0])
    assert privacy.similarity(u, u) == 1.0
    assert privacy.similarity(u, np.zeros(2)) == 0.5
    assert privacy.similarity(u, -u) == pytest.approx(1 / 3)


def test_colluders_run_contracts_of_their_own() -> None:
    """The genesis record is untouched: a device cannot see it from the chain id."""
    with opened_run(small_run(512), edge_classes=attackers.COLLUDERS) as run:
        chain = run.edges[0].ledger.chain
        attackers.collude(run, lambda _liar, _waiting: None)
        assert run.edges[0].ledger.chain == chain
        assert "too few contributors" in dict(run.edges[0].ledger.genesis.contracts)["mining"]
        mining = run.edges[0].ledger.machine.contracts["mining"]
        assert "aggregate" in mining.module.functions
        assert "_require_enough" not in mining.module.functions


def test_a_boosted_learner_multiplies_its_update() -> None:
    """The attack is what its name says."""
    class Steady:
        sample_count = 3

        def update(self, w: Any, *_: Any) -> Any:
            return poison.LocalResult(w + np.float32(0.5), 1.0, 3)

    w = np.zeros(4, np.float32)
    boosted = poison.Boosted(Steady(), 10.0).update(w, None, 1, None, None)  # type: ignore[arg-type]
    assert np.allclose(boosted.w, 5.0)
