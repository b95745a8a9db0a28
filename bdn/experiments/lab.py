"""The attack lab: what is tried, what happens, what the paper claims, and what is not covered.

Each experiment is a function that plays one attack or fault against the real parts and returns a
`Finding`. ``held`` says whether the defence did what it should; the tests demand it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bdn.chain import (
    AggregateTransaction,
    BlockError,
    UpdateTransaction,
    decode_block,
    encode_block,
    sign_transaction,
)
from bdn.chain.blocks import compute_transactions_root
from bdn.errors import UsageError
from bdn.experiments.config import RunConfig
from bdn.experiments.run import Run, opened_run
from bdn.nodes.application import LedgerApplication
from bdn.paillier import RingMaskedCipher, deal
from bdn.paillier.ring_attack import attack
from bdn.randomness import SeededRandomness

WEIGHTS_OF_THE_ATTACK = (1, 2745)
ATTACKED_LENGTH = 4096


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of an experiment, in sentences.

    Attributes:
        tried: what the attacker did, or what broke.
        happened: what came of it, with figures.
        claimed: what the paper says (Table 1, or section 4).
        not_covered: what this defence does not protect from.
        held: whether the defence held.
    """

    tried: str
    happened: tuple[str, ...]
    claimed: str
    not_covered: str
    held: bool


def small_run(key_bits: int) -> RunConfig:
    """Four devices, two epochs: enough for every part to be real."""
    return RunConfig(devices=4, threshold=2, epochs=2, iterations=3, batch_size=16, samples=40,
                     key_bits=key_bits, seed=3)


# --- experiments --------------------------------------------------------------------------------


def edge_weights(key_bits: int) -> Finding:
    """Why the ring-masked cipher puts s_k inside the message."""
    rng = SeededRandomness(1)
    public_key, _ = deal(2, 2, key_bits, rng=rng)
    cipher = RingMaskedCipher(public_key, ATTACKED_LENGTH, 1.0, 16,
                              total_weight=sum(WEIGHTS_OF_THE_ATTACK), contributors=2)
    numbers = np.random.default_rng(1)
    vectors = [numbers.uniform(-1, 1, ATTACKED_LENGTH) for _ in range(2)]
    naive = attack(cipher, vectors, WEIGHTS_OF_THE_ATTACK, "edge", rng)
    ours = attack(cipher, vectors, WEIGHTS_OF_THE_ATTACK, "device", rng)
    chance = 2.0 ** -cipher.code.value_bits
    return Finding(
        tried="An edge server watches two devices' ring-masked updates with weights "
              f"{WEIGHTS_OF_THE_ATTACK[0]} and {WEIGHTS_OF_THE_ATTACK[1]}, and the opened sum of "
              "their secrets.",
        happened=(
            ("Weights applied by the edge: "
            f"{naive.exact[0]:.1%} and {naive.exact[1]:.1%} of the entries recovered exactly."),
            ("Weights inside the message (ours): "
            f"{ours.exact[0]:.3%} and {ours.exact[1]:.3%}; guessing gives {chance:.3%}."),
        ),
        claimed="Section 4: if a device does not reveal its local update, nobody can obtain "
                "information about it.",
        not_covered="A device may still declare a weight that its data does not have.",
        held=min(naive.exact) > 0.99 and max(ours.exact) < 0.01,
    )


def crash_primary(key_bits: int) -> Finding:
    """The primary edge server crashes while it proposes the first candidate block."""
    undisturbed = _model(small_run(key_bits))
    with opened_run(small_run(key_bits)) as run:
        _on(run, lambda r: r["event"] == "pre-prepare" and r.get("node") == "edge-0"
            and r.get("sequence") == 4, lambda: run.runner.crash("edge-0"))
        run.runner.run(run.is_over)
        same = np.array_equal(run.devices[0].progress.w, undisturbed)
        views = _views(run, 1)
    return Finding(
        tried="Edge server 0, the primary, stops after it has sent its PRE-PREPARE.",
        happened=(f"Blocks were sealed in views {views}; the run ended.",
                  f"The model is {'the same' if same else 'NOT the same'} as without the crash."),
        claimed="Table 1, single point of failure: no central control.",
        not_covered="With more than f of 3f + 1 edge servers gone nothing is sealed any more; what "
                    "was sealed stays.",
        held=same and max(views) > 0,
    )


def lying_primary(key_bits: int) -> Finding:
    """The primary puts another sum into Tx_co than Eq. (5) gives."""
    undisturbed = _model(small_run(key_bits))
    refusals: list[str] = []
    with opened_run(small_run(key_bits)) as run:
        liar = run.edges[0].application
        lies: list[bytes] = []
        honest = liar.propose
        liar.propose = lambda sequence, pending: (  # type: ignore[method-assign]  # the lie
            _with_wrong_product(liar, honest(sequence, pending), lies))
        _hear(run, lambda r: refusals.append(r["reason"]) if r["event"] == "rejected"
              and "Eq. 5" in r.get("reason", "") else None)
        run.runner.run(run.is_over)
        same = np.array_equal(run.devices[0].progress.w, undisturbed)
        ledger = run.edges[1].ledger
        sealed = {aggregate.payload.root for height in range(1, ledger.height + 1)
                  if (aggregate := ledger.store.block(height).aggregate) is not None
                  and isinstance(aggregate.payload, AggregateTransaction)}
        views = _views(run, 1)
    return Finding(
        tried="Edge server 0, the primary, proposes a Tx_co whose root is not the weighted product "
              "of the updates.",
        happened=(
            (f"{len(lies)} false blocks proposed, {len(sealed.intersection(lies))} sealed; backups "
            f"refused {len(refusals)} times: {refusals[0] if refusals else 'never'}."),
            (f"Blocks were sealed in views {views}; the model is "
            f"{'the same' if same else 'NOT the same'} as with an honest primary.")),
        claimed="Table 1, data poisoning: a malicious server cannot wrongly update the model.",
        not_covered="A primary may leave out updates that reached it alone.",
        held=bool(lies) and not sealed.intersection(lies) and same and bool(refusals),
    )


def decryption_oracle(key_bits: int) -> Finding:
    """An edge server asks the devices to open a single device's update, dressed as a sum."""
    with opened_run(small_run(key_bits)) as run:
        ledger, host = run.edges[0].ledger, run.edges[0].application.host
        run.runner.run(lambda: ledger.head.kind == "candidate")
        block = ledger.store.block(ledger.height)
        ledger.rollback(ledger.height - 1)
        one = next(e for e in block.transactions if isinstance(e.payload, UpdateTransaction))
        application = run.edges[0].application
        try:
            application.make_aggregate([one])
            refusal = "nobody"
        except BlockError as error:
            refusal = str(error)
        host.produced.clear()
    return Finding(
        tried="Edge server 0 makes a block whose Tx_co sums one contributor, and would have the "
              "devices open it.",
        happened=(f"The mining contract, which every edge server executes: {refusal}.",
                  ("A device counts the contributors itself, and never opens a second sum for the "
                  "same epoch and phase.")),
        claimed="Section 4: the edge server only computes over encrypted data.",
        not_covered="If all contributors but one collude with t key holders, they can subtract "
                    "their own updates: the minimum of t + 1 contributors leaves two honest ones "
                    "against t − 1 colluders, not against more.",
        held="too few contributors" in refusal,
    )


EXPERIMENTS: dict[str, Callable[[int], Finding]] = {
    "edge-weights": edge_weights,
    "crash-primary": crash_primary,
    "lying-primary": lying_primary,
    "decryption-oracle": decryption_oracle,
}


def experiment(name: str) -> Callable[[int], Finding]:
    """The experiment called ``name``; raises `UsageError` for another name."""
    if name not in EXPERIMENTS:
        raise UsageError(f"no experiment {name!r}; there are {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]


# --- hands --------------------------------------------------------------------------------------


def _model(config: RunConfig) -> np.ndarray:
    """The model of an undisturbed run."""
    with opened_run(config) as run:
        run.runner.run(run.is_over)
        return run.devices[0].progress.w


def _hear(run: Run, listener: Callable[[dict[str, Any]], object]) -> None:
    run.listen(lambda record: (listener(record), None)[1])


def _on(run: Run, condition: Callable[[dict[str, Any]], bool], action: Callable[[], None]) -> None:
    """Do ``action`` right after the step in which ``condition`` first holds of an event."""
    done: list[bool] = []

    def hear(record: dict[str, Any]) -> None:
        if not done and condition(record):
            done.append(True)
            run.runner.at(run.runner.now_ms, action)

    run.listen(hear)


def _views(run: Run, edge: int) -> list[int]:
    """The views in which the blocks that ``edge`` holds were sealed."""
    store = run.edges[edge].ledger.store
    seals = (store.seal(height) for height in range(1, run.edges[edge].ledger.height + 1))
    return sorted({getattr(seal, "view", 0) for seal in seals})


def _with_wrong_product(
    liar: LedgerApplication, payload: bytes | None, lies: list[bytes]
) -> bytes | None:
    """The proposal with another root in Tx_co, freshly signed, under a header that fits it."""
    block = decode_block(payload) if payload is not None else None
    if block is None or block.aggregate is None or not isinstance(
            block.aggregate.payload, AggregateTransaction):
        return payload
    old = block.aggregate
    false = replace(block.aggregate.payload, root=block.header.parent)
    aggregate = sign_transaction(liar.identity, old.chain, old.nonce, old.gas_limit, false)
    changed = replace(block, aggregate=aggregate)
    header = replace(block.header,
                     transactions_root=compute_transactions_root(changed.envelopes))
    lies.append(false.root)
    return encode_block(replace(changed, header=header))
