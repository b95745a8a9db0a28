"""What faults do to a whole run: crashes, a lying primary, and updates that must be refused."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bdn.chain import decode_envelope, device_numbers, encode_envelope, sign_transaction
from bdn.encoding import encode_union
from bdn.errors import UsageError
from bdn.experiments.config import RunConfig
from bdn.experiments.participants import from_data
from bdn.experiments.run import Run, opened_run
from bdn.identity import Identity
from bdn.nodes.events import Send
from bdn.nodes.messages import Submit, decode_message, encode_message
from bdn.nodes.requests import decode_request, sign_request

Tiny = Callable[..., RunConfig]
Listener = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def undisturbed(tiny: Tiny) -> np.ndarray:
    """The model that nothing disturbs."""
    with opened_run(tiny()) as run:
        run.complete()
        return run.devices[0].progress.w


def views(run: Run) -> list[int]:
    """The views in which blocks were sealed."""
    return [block["view"] for block in run.blocks()]


# --- edge servers -------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["pre-prepare", "prepared"])
def test_the_primary_crashes_mid_epoch_and_the_model_is_the_same(
    tiny: Tiny, undisturbed: np.ndarray, moment: str
) -> None:
    """A view change happens, and the run ends with the same model."""
    with opened_run(tiny()) as run:

        def crash(record: dict[str, Any]) -> None:
            if (record["event"], record.get("node"), record.get("sequence")) == (
                    moment, "edge-0", 4):
                run.runner.at(run.runner.now_ms, lambda: run.runner.crash("edge-0"))

        run.listen(crash)
        run.runner.run(run.is_over)
        assert not run.runner.is_up("edge-0")
        survivor = run.edges[1].ledger
        sealed_in = [survivor.store.seal(h).view for h in range(1, survivor.height + 1)]
        assert max(sealed_in) >= 1, "a later view sealed the rest"
        assert np.array_equal(run.devices[0].progress.w, undisturbed)


def test_a_lying_primary_never_gets_its_block_sealed(
    tiny: Tiny, undisturbed: np.ndarray
) -> None:
    """Backups recompute Eq. (5), refuse, and replace the primary."""
    with opened_run(tiny()) as run:
        liar = run.edges[0].application
        honest_product = liar._product
        roots = []

        def wrong_product(epoch: int, phase: str, updates: Any) -> tuple[bytes, int, int]:
            """The product without the last update, under the full list of contributors."""
            if len(updates) > 1 and not roots:
                roots.append(honest_product(epoch, phase, updates[:-1])[0])
                return honest_product(epoch, phase, updates[:-1])
            return honest_product(epoch, phase, updates)

        liar._product = wrong_product  # type: ignore[method-assign]
        # its own contract must not stop it: a liar does not run the checks on itself
        liar.host.product = lambda terms, epoch, phase, updates: honest_host(  # type: ignore[method-assign]
            terms, epoch, phase, updates[:-1] if roots == [] else updates)
        honest_host = type(liar.host).product.__get__(liar.host)
        run.runner.run(run.is_over)
        for edge in run.edges[1:]:
            for height in range(1, edge.ledger.height + 1):
                aggregate = edge.ledger.store.block(height).aggregate
                assert aggregate is None or aggregate.payload.root not in roots
        assert np.array_equal(run.devices[0].progress.w, undisturbed)
        assert max(edge.view for edge in run.edges[1:]) >= 1


def test_a_primary_that_leaves_a_contributor_out_of_its_sum_is_replaced(
    tiny: Tiny, undisturbed: np.ndarray
) -> None:
    """An update that stands in the block belongs into Tx_co: listing it is not enough."""
    reasons: set[str] = set()
    with opened_run(tiny()) as run:
        liar = run.edges[0].application
        honest = liar._tx_co
        liar._tx_co = lambda epoch, phase, updates: honest(  # type: ignore[method-assign]
            epoch, phase, updates[:-1] if len(updates) > 3 else updates)
        liar._check_contributors = lambda candidate: None  # type: ignore[method-assign]
        run.listen(lambda record: reasons.add(record.get("reason", "")))
        run.runner.run(run.is_over)
        history = run.devices[0].progress.history
        assert all(len(device_numbers(record.contributors)) == 4 for record in history)
        assert np.array_equal(run.devices[0].progress.w, undisturbed)
        assert max(edge.view for edge in run.edges[1:]) >= 1
    assert any("leaves out an update" in reason for reason in reasons)


# --- devices ------------------------------------------------------------------------------------


def tampered_run(config: RunConfig, tamper: Callable[[Run, Submit], Submit | None]) -> Run:
    """A finished run in which every message Submit of device-4's updates went through ``tamper``.

    The returned run is closed; its ledgers live in memory and were read before.
    """
    with opened_run(config) as run:
        victim = run.devices[3]
        step = victim.step

        def tampering_step(event: Any, now_ms: int) -> list[Any]:
            effects = []
            for effect in step(event, now_ms):
                if isinstance(effect, Send):
                    message = decode_message(effect.data)
                    if isinstance(message, Submit) and _payload(message) == "UpdateTransaction":
                        changed = tamper(run, message)
                        if changed is None:
                            continue
                        effect = Send(effect.target, encode_message(changed))
                effects.append(effect)
            return effects

        victim.step = tampering_step  # type: ignore[method-assign]
        run.reasons = []  # type: ignore[attr-defined]

        def hear(record: dict[str, Any]) -> None:
            if record["event"] in ("refused", "failed", "transaction-refused"):
                run.reasons.append(record["reason"])  # type: ignore[attr-defined]

        run.listen(hear)
        run.runner.run(run.is_over)
        addresses = [identity.address for identity in run.material.devices]
        run.contributors = {  # type: ignore[attr-defined]
            addresses[number] for record in run.devices[0].progress.history
            for number in device_numbers(record.contributors)}
        return run


def _payload(message: Submit) -> str:
    return type(decode_envelope(decode_request(message.request).operation).payload).__name__


def resigned(run: Run, message: Submit, identity: Identity, **changes: Any) -> bytes:
    """The request with a changed payload or nonce, signed again by ``identity``."""
    request = decode_request(message.request)
    envelope = decode_envelope(request.operation)
    nonce = changes.pop("nonce", envelope.nonce)
    payload = replace(envelope.payload, **changes)
    chain = run.material.block.header.chain
    signed = sign_transaction(identity, chain, nonce, envelope.gas_limit, payload)
    return sign_request(chain, identity, nonce, encode_envelope(signed))


def forged_signature(run: Run, message: Submit) -> Submit:
    request = decode_request(message.request)
    envelope = decode_envelope(request.operation)
    forged = replace(envelope, signature=bytes(64))
    changed = replace(request, operation=encode_envelope(forged))
    return Submit(encode_union(changed), message.blobs)


def replayed_nonce(run: Run, message: Submit) -> Submit:
    return Submit(resigned(run, message, run.material.devices[3], nonce=0), message.blobs)


def implausible_samples(run: Run, message: Submit) -> Submit:
    """A sample count beyond what T_local allows; the ring-masked weight is inside the message."""
    return Submit(resigned(run, message, run.material.devices[3], local_ms=0),
                  message.blobs)


def twice_the_samples(run: Run, message: Submit) -> Submit:
    """Another s_k than lies inside; with the packed cipher the learning contract refuses it."""
    count = 2 * run.devices[3]._learner.sample_count
    return Submit(resigned(run, message, run.material.devices[3], sample_count=count),
                  message.blobs)


def wrong_length(run: Run, message: Submit) -> Submit:
    from bdn.chain import blob_root, pack_blob, unpack_blob

    leaves = unpack_blob(message.blobs[0])
    blob = pack_blob([*leaves[:-2], leaves[-1]])
    changed = resigned(run, message, run.material.devices[3], root=blob_root(blob),
                       chunks=len(leaves) - 1, size=len(blob))
    return Submit(changed, (blob,))


def outside_the_group(run: Run, message: Submit) -> Submit:
    """A ciphertext of zero: not in Z*_{N²}."""
    from bdn.chain import blob_root, pack_blob, unpack_blob

    leaves = unpack_blob(message.blobs[0])
    leaves[0] = bytes(len(leaves[0]))
    blob = pack_blob(leaves)
    changed = resigned(run, message, run.material.devices[3], root=blob_root(blob),
                       size=len(blob))
    return Submit(changed, (blob,))


class AnothersCiphertexts:
    """Device 4 sends what device 1 sealed, under its own signature."""

    def __init__(self) -> None:
        self.stolen: dict[tuple[int, str], bytes] = {}

    def __call__(self, run: Run, message: Submit) -> Submit | None:
        from bdn.chain import blob_root, unpack_blob

        first = run.devices[0]._interface.submission
        if first is None or _payload(first) != "UpdateTransaction":
            return None
        blob = first.blobs[0]
        changed = resigned(run, message, run.material.devices[3], root=blob_root(blob),
                           chunks=len(unpack_blob(blob)), size=len(blob))
        return Submit(changed, (blob,))


@pytest.mark.parametrize(
    ("tamper", "reason"),
    [
        (forged_signature, "signature"),
        (replayed_nonce, "nonce 0 was used"),
        (outside_the_group, "ciphertext"),
        (AnothersCiphertexts(), "proof"),
        (wrong_length, "leaves; this cipher"),
        (implausible_samples, "implausible"),
        (twice_the_samples, "sealed with weight 40"),
    ],
    ids=["forged signature", "replayed nonce", "outside Z*_{N²}", "another device's ciphertexts",
         "wrong length", "implausible sample count", "twice the samples"],
)
def test_a_bad_update_is_refused_for_a_clear_reason_and_the_epoch_goes_on(
    tiny: Tiny, tamper: Any, reason: str
) -> None:
    run = tampered_run(tiny(epochs=1), tamper)
    assert any(reason in text for text in run.reasons), run.reasons  # type: ignore[attr-defined]
    addresses = {identity.address for identity in run.material.devices}
    left = run.contributors  # type: ignore[attr-defined]
    assert left == addresses - {run.material.devices[3].address}
    assert run.devices[0].progress.finished


def test_a_device_that_vanishes_costs_its_update_only(tiny: Tiny) -> None:
    """Up to n − t missing key holders cost nothing at all."""
    with opened_run(tiny()) as run:

        def vanish(record: dict[str, Any]) -> None:
            if record["event"] == "epoch-done" and record["epoch"] == 1:
                run.runner.crash("device-2")

        run.listen(vanish)
        run.runner.run(run.is_over)
        history = run.devices[0].progress.history
        assert [len(device_numbers(record.contributors)) for record in history] == [4, 3, 3]


def test_sample_counts_that_would_show_one_device_are_refused_before_the_run(tiny: Tiny) -> None:
    """A device with more than SAMPLE_RATIO times another's samples could be read off the mean."""
    config = tiny(samples=None)
    people = from_data(config)
    large = SimpleNamespace(sample_count=1001 * people.learners[0].sample_count)
    crowd = replace(people, learners=(large, *people.learners[1:]))
    with pytest.raises(UsageError, match="beyond a ratio of 1000"), opened_run(
            config, participants=crowd):
        pytest.fail("the run began")
