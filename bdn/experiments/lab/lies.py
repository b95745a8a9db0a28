"""A primary that lies about the sum, or leaves updates out."""

from collections.abc import Callable
from dataclasses import replace

from bdn.chain import (
    AggregateTransaction,
    UpdateTransaction,
    decode_block,
    encode_block,
    sign_transaction,
)
from bdn.chain.blocks import compute_transactions_root
from bdn.experiments.lab.attackers import Adversary, submitted
from bdn.experiments.lab.experiment import Experiment
from bdn.experiments.lab.small_runs import (
    Outcome,
    hear,
    is_same,
    outcome,
    reasons,
    same_model,
    small_run,
    views,
)
from bdn.experiments.run import Run, opened_run
from bdn.nodes.edge.application import LedgerApplication
from bdn.nodes.events import Effect, Event, Received, Send
from bdn.runfolder.findings import POISONING, Finding

GROUP = "edge servers lie"
CLAIMED = ("Table 1, data poisoning: a malicious server may wrongly update the model parameters; "
           "with BlockDeepNet each entity communicates by transactions under the contracts.")


def lying_primary(key_bits: int) -> Finding:
    """The primary puts another sum into Tx_co than Eq. (5) gives."""
    with opened_run(small_run(key_bits)) as run:
        liar = run.edges[0].application
        lies: list[bytes] = []
        honest = liar.propose
        liar.propose = lambda sequence, pending: (  # type: ignore[method-assign]  # the lie
            _with_wrong_product(liar, honest(sequence, pending), lies))
        refusals = hear(run, "rejected")
        run.runner.run(run.is_over)
        same, sealed_in, sealed = same_model(run), views(run, 1), _sealed_sums(run, 1)
    said = [record for record in refusals if "Eq. 5" in record.get("reason", "")]
    return Finding(
        tried="Edge server 0, the primary, proposes a Tx_co whose root is not the weighted product "
              "of the updates.",
        happened=(
            (f"{len(lies)} false blocks proposed, {len(sealed.intersection(lies))} sealed; backups "
             f"refused {len(said)} times: {said[0]['reason'] if said else 'never'}."),
            (f"Blocks were sealed in views {sealed_in}; the model is {is_same(same)} as with an "
             "honest primary."),
        ),
        claimed=CLAIMED,
        not_covered="A quorum of lying edge servers: see colluding-quorum. What a device lies "
                    "about its own data: see label-flipped.",
        held=bool(lies) and not sealed.intersection(lies) and same and bool(said),
    )


def withholding_primary(key_bits: int) -> Finding:
    """The primary leaves out a device's update."""
    config = small_run(key_bits)
    with opened_run(config) as run:
        liar, victim = run.edges[0].application, run.material.devices[1].address
        left_out: list[bytes] = []
        liar.propose = _without(liar, victim, left_out)  # type: ignore[method-assign]  # the lie
        refusals = hear(run, "rejected")
        run.runner.run(run.is_over)
        said = reasons(refusals, "left out")
        shared, same = outcome(run), same_model(run)
    swallowed, same_too = _swallowed(key_bits, heard_elsewhere=True)
    lost, _ = _swallowed(key_bits, heard_elsewhere=False)
    return Finding(
        tried="Edge server 0, the primary, censors one device: it proposes candidate blocks "
              "without an update that all servers hold; and it swallows the update of its own "
              "device, which no other server has seen.",
        happened=(
            (f"An update that the others hold: {len(left_out)} blocks proposed without it; "
             f"backups: {said[0] if said else 'no word'}. Contributors "
             f"{len(shared.contributors[0])} of 4; the model is {is_same(same)}."),
            ("An update that reached the primary alone: unanswered, the device sends it to all "
             f"edge servers. Contributors {len(swallowed.contributors[0])} of 4; the model is "
             f"{is_same(same_too)}."),
            ("The same, and the device cannot reach any other edge server: the deadline passes and "
             f"the epoch goes on with {len(lost.contributors[0])} contributors."),
        ),
        claimed=CLAIMED,
        not_covered="A device whose only line to the network is a censoring server. An update that "
                    "reaches the other servers so late that the deadline has passed: from then on "
                    "a block without it is no lie.",
        held=bool(left_out) and bool(said) and same and same_too
        and [len(o.contributors[0]) for o in (shared, swallowed, lost)] == [4, 4, 3],
    )


def _swallowed(key_bits: int, heard_elsewhere: bool) -> tuple[Outcome, bool]:
    """A run whose primary swallows device 1's updates; whether the others may hear of them."""
    with opened_run(small_run(key_bits)) as run:
        def hides(event: Event) -> bool:
            return isinstance(event, Received) and event.source == "device-1" and (
                submitted(Send("", event.data)) is not None)

        def change(effect: Effect) -> list[Effect]:
            lost = submitted(effect) is not None and isinstance(effect, Send) and (
                effect.target != "edge-0")
            return [] if lost and not heard_elsewhere else [effect]

        run.runner.add(Adversary(run.edges[0], hides=hides))
        run.runner.add(Adversary(run.devices[0], change=change))
        run.runner.run(run.is_over)
        return outcome(run), same_model(run)


def _sealed_sums(run: Run, edge: int) -> set[bytes]:
    """Roots of the aggregates on ``edge``'s ledger."""
    ledger = run.edges[edge].ledger
    blocks = (ledger.store.block(height) for height in range(1, ledger.height + 1))
    return {block.aggregate.payload.root for block in blocks if block.aggregate is not None
            and isinstance(block.aggregate.payload, AggregateTransaction)}


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


def _without(
    liar: LedgerApplication, victim: bytes, left_out: list[bytes]
) -> Callable[..., bytes | None]:
    """A way to propose that leaves ``victim``'s updates out of an otherwise right block."""
    honest = liar.propose

    def propose(sequence: int, pending: object) -> bytes | None:
        payload = honest(sequence, pending)  # type: ignore[arg-type]  # handed through as it is
        block = decode_block(payload) if payload is not None else None
        if block is None or block.aggregate is None:
            return payload
        rest = [e for e in block.transactions if e.address != victim]
        updates = [e for e in rest if isinstance(e.payload, UpdateTransaction)]
        changed = encode_block(liar.make_aggregate(updates).block)
        left_out.append(changed)
        return changed

    return propose


EXPERIMENTS = (
    Experiment("lying-primary", GROUP, POISONING, lying_primary),
    Experiment("withholding-primary", GROUP, POISONING, withholding_primary),
)
