"""Edge servers that collude, all of them, and devices that are asked to open what they should not.

Here *every* edge server lies (`bdn.experiments.lab.attackers.Colluder`). The blocks are then
validly sealed, and what stands between the edge servers and a device's update is what the devices
refuse by themselves; one experiment shows what they cannot refuse.

    δ_k    the update of device k        s_k    its samples        w    a model
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bdn.chain import (
    AUXILIARY,
    CANDIDATE,
    AggregateTransaction,
    Block,
    BlockError,
    Envelope,
    LedgerError,
    ShareTransaction,
    UpdateTransaction,
    decode_block,
)
from bdn.chain.verify import verify_ledger
from bdn.encoding import decode_union
from bdn.experiments.folder import NodeStore
from bdn.experiments.lab.attackers import (
    COLLUDERS,
    SILENCE,
    Colluder,
    collude,
    false_block,
    updates_in,
)
from bdn.experiments.lab.experiment import Experiment
from bdn.experiments.lab.small_runs import (
    READ,
    drive,
    hear,
    reasons,
    similarity,
    small_run,
    true_update,
)
from bdn.experiments.run import Run, opened_run
from bdn.experiments.setup import make_device
from bdn.nodes.ciphers import Ciphers, key_in
from bdn.nodes.device import journal
from bdn.nodes.settings import WEIGHTS
from bdn.nodes.vector_host import VectorHost
from bdn.runfolder.findings import PRIVACY_LEAK, Finding

GROUP = "edge servers collude"
CLAIMED = ("Section 4.2: the edge server only performs computation over encrypted data, and the "
           "global update is decrypted by the devices with SK; Table 1, privacy leak.")

# --- too few contributors -----------------------------------------------------------------------


def decryption_oracle(key_bits: int) -> Finding:
    """Edge servers ask the devices to open a single device's update, dressed as a sum."""
    refusal = _honest_servers(key_bits)
    with opened_run(small_run(key_bits), edge_classes=COLLUDERS) as run:
        withheld, opened = _lie_about_few(run, 1)
        shares, served = _shares(run), len({r["node"] for r in withheld})
    with opened_run(small_run(key_bits), edge_classes=COLLUDERS) as run:
        gullible, _ = _lie_about_few(run, 2, gullible=True)
        read = _subtract_own(run)
    said = reasons(withheld)
    return Finding(
        tried="The edge servers would have one device's update opened: first one of them alone, "
              "then all four together, with contracts that check nothing. Their block is validly "
              "sealed, and its Tx_co sums one contributor.",
        happened=(
            f"One edge server alone: the others' mining contract says: {refusal}.",
            (f"All four: the lie was sealed; {served} of 4 key holders withheld their share "
             f"({said[0] if said else 'no reason'}), {len(shares)} shares were made and {opened} "
             "devices opened it."),
            (f"Control, devices that do not count ({len(gullible)} withheld): a sum of two is "
             "opened, and the contributor that colludes subtracts its own update. Similarity of "
             f"what is left to the other's update: {read:.3f} (knowing nothing: 0.500)."),
        ),
        claimed=CLAIMED,
        not_covered="If all contributors but one collude, they subtract their own updates: the "
                    "minimum of t + 1 contributors leaves two honest ones against t − 1 "
                    "colluders, not against more. And a device counts names; that the sum is of "
                    "these names' updates, it believes a quorum: see colluding-quorum.",
        held="too few contributors" in refusal and said == ["too few contributors"]
        and served == 4 and not shares and opened == 0 and read > READ,
    )


def _honest_servers(key_bits: int) -> str:
    """What an honest mining contract says to an aggregate of one."""
    with opened_run(small_run(key_bits), edge_classes=COLLUDERS) as run:
        ledger, application = run.edges[0].ledger, run.edges[0].application
        drive(run, lambda: ledger.head.kind == CANDIDATE)
        block = ledger.store.block(ledger.height)
        ledger.rollback(ledger.height - 1)
        one = next(e for e in block.transactions if isinstance(e.payload, UpdateTransaction))
        try:
            application.make_aggregate([one])
        except BlockError as error:
            return str(error)
        return "nothing: it was made"


def _lie_about_few(
    run: Run, count: int, gullible: bool = False
) -> tuple[list[dict[str, Any]], int]:
    """Seal an aggregate of ``count`` contributors; (shares withheld, devices that opened it)."""
    order = [identity.address for identity in run.material.devices]

    def plan(liar: Colluder, waiting: Sequence[Envelope]) -> bytes | None:
        updates = updates_in(waiting)
        if len(updates) < len(order):
            return None
        if gullible:  # the devices' own word about the minimum is taken away
            for device in run.devices:
                device.settings = replace(device.settings, threshold=1, minimum_contributors=2)
        few = [e for e in updates if e.address in order[:count]]
        return false_block(run, liar, CANDIDATE, few, updates, few)

    collude(run, plan)
    withheld, opened = hear(run, "share-withheld"), hear(run, "opened")
    drive(run, lambda: len(run.devices) in (
        len({r["node"] for r in withheld}), len({r["node"] for r in opened})))
    return withheld, len({r["node"] for r in opened})


def _subtract_own(run: Run) -> float:
    """How well device 1 knows device 2's update after a sum of just the two was opened."""
    samples = [learner.sample_count for learner in run.material.participants.learners[:2]]
    opened = (run.devices[0].progress.w.astype(np.float64) - run.material.participants.w
              ) * sum(samples)
    guess = (opened - samples[0] * true_update(run, 0)) / samples[1]
    return similarity(true_update(run, 1), guess)


def _shares(run: Run) -> list[ShareTransaction]:
    """The shares of the weight phase on the first edge server's ledger."""
    ledger = run.edges[0].ledger
    blocks = (ledger.store.block(height) for height in range(1, ledger.height + 1))
    return [e.payload for block in blocks for e in block.transactions
            if isinstance(e.payload, ShareTransaction) and e.payload.phase == WEIGHTS]


# --- a second sum -------------------------------------------------------------------------------


def second_sum(key_bits: int) -> Finding:
    """Edge servers have two sums sealed for one epoch: their difference is a device's update."""
    with opened_run(small_run(key_bits, devices=5, threshold=3), edge_classes=COLLUDERS) as run:
        first, second, withheld = _seal_two_sums(run)
        said = reasons(withheld)
        name = withheld[0]["node"] if withheld else run.devices[0].name
        again = _after_restart(run, name, with_promises=True)
        forgetful = _after_restart(run, name, with_promises=False)
    with opened_run(small_run(key_bits), edge_classes=COLLUDERS) as run:
        few_first, few_second, _ = _seal_two_sums(run)
    return Finding(
        tried="All edge servers collude and seal, as soon as devices have made shares of an "
              "aggregate, a second one for the same epoch that leaves out one contributor. Whoever "
              "had both opened would hold its update.",
        happened=(
            (f"t = 3 of ℓ = 5: {first} devices made a share of the first sum, {second} of the "
             f"second, none of both; {len({r['node'] for r in withheld})} withheld one: "
             f"{said[0] if said else 'no word'}."),
            f"{name}, restarted from its journal: {again}.",
            f"Control, {name} with its promises erased from the journal: {forgetful}.",
            (f"Limit, t = 2 of ℓ = 4: {few_first} shares of the first sum and {few_second} of the "
             "second, by different devices. Where 2t ≤ ℓ, both can be opened."),
        ),
        claimed=CLAIMED,
        not_covered="The promise binds each device alone, so only 2t > ℓ keeps colluding edge "
                    "servers from having both sums opened. A device restored from an old copy of "
                    "its journal forgets what it promised since.",
        held=first == 3 and second < 3 and said == [SECOND]
        and again == SECOND and forgetful == MADE and (few_first, few_second) == (2, 2),
    )


SECOND = "another sum was shared"
MADE = "it makes a share of the second sum"


def _seal_two_sums(run: Run) -> tuple[int, int, list[dict[str, Any]]]:
    """Have the colluders seal a second aggregate on top of the first.

    Returns how many devices promised a share of each, and the shares that were withheld.
    """
    sums: list[bytes] = []

    def plan(liar: Colluder, waiting: Sequence[Envelope]) -> bytes | None:
        ledger = liar.ledger
        shares = [e for e in waiting if isinstance(e.payload, ShareTransaction)]
        if sums or ledger.head.kind != CANDIDATE:
            return SILENCE if sums else None
        if len(shares) < run.config.threshold:
            return SILENCE
        block = ledger.store.block(ledger.height)
        rest = updates_in(block.transactions)[:-1]
        lie = false_block(run, liar, AUXILIARY, rest, [], rest)
        sums.extend(_sum_in(one) for one in (block, decode_block(lie)))
        return lie

    collude(run, plan)
    withheld = hear(run, "share-withheld")
    names = run.material.device_names

    def all_have_answered() -> bool:
        answered = {record["node"] for record in withheld}
        if len(sums) == 2:
            answered |= {name for name in names if sums[1] in _promises(run, name)}
        return len(answered) == len(names)

    drive(run, all_have_answered)
    promises = [_promises(run, name) for name in names]
    first, second = (sum(root in kept for kept in promises) for root in sums)
    return first, second, withheld


def _sum_in(block: Block) -> bytes:
    """The root of the aggregate in ``block``."""
    assert block.aggregate is not None
    assert isinstance(block.aggregate.payload, AggregateTransaction)
    return block.aggregate.payload.root


def _promises(run: Run, name: str) -> set[bytes]:
    """The sums of which device ``name`` has promised shares, as its journal says."""
    records = (decode_union(journal.RECORDS, record) for record in run.store.journal(name))
    return {record.root for record in records if isinstance(record, journal.PromisedShare)}


def _after_restart(run: Run, name: str, with_promises: bool) -> str:
    """What device ``name`` does about the second sum when it starts anew from its journal."""
    store = NodeStore(None)
    for record in run.store.journal(name):
        promise = isinstance(decode_union(journal.RECORDS, record), journal.PromisedShare)
        if with_promises or not promise:
            store.append(name, record)
    made: list[str] = []

    def listen(record: dict[str, Any]) -> None:
        if record.get("node") != name:
            return
        if record["event"] == "share-withheld":
            made.append(record["reason"])
        elif record["event"] == "work" and record["kind"] == "share":
            made.append(MADE)

    run.listen(listen)
    position = run.material.device_names.index(name)
    run.devices[position] = make_device(run.material, position, store, run.trace)
    run.runner.add(run.devices[position])
    drive(run, lambda: bool(made))
    return made[0]


# --- what devices cannot refuse -----------------------------------------------------------------


def colluding_quorum(key_bits: int) -> Finding:
    """A quorum of edge servers seals one device's update under the names of all (not prevented)."""
    with opened_run(small_run(key_bits), edge_classes=COLLUDERS) as run:
        victim = run.material.devices[0].address

        def plan(liar: Colluder, waiting: Sequence[Envelope]) -> bytes | None:
            updates = updates_in(waiting)
            if len(updates) < len(run.devices):
                return None
            one = [e for e in updates if e.address == victim]
            return false_block(run, liar, CANDIDATE, one, updates, updates)

        collude(run, plan)
        spy = run.devices[3]
        withheld = hear(run, "share-withheld")
        drive(run, lambda: bool(spy.progress.history))
        record = spy.progress.history[0]
        people = run.material.participants
        scale = record.total_samples / people.learners[0].sample_count
        guess = (spy.progress.w.astype(np.float64) - people.w) * scale
        read = similarity(true_update(run, 0), guess)
        verified = _recompute(run)
    return Finding(
        tried="All four edge servers and device 4 collude. The sealed Tx_co names all four "
              "contributors; what it sums is device 1's update alone.",
        happened=(
            (f"Not prevented: the devices withheld {len(withheld)} shares, opened it, and device 4 "
             f"knows device 1's update. Similarity {read:.3f} (knowing nothing: 0.500)."),
            f"It cannot be hidden: whoever recomputes the ledger finds: {verified}.",
        ),
        claimed=CLAIMED,
        not_covered="A device is a light node: that Tx_co is the product of Eq. (5), it believes a "
                    "quorum of 2f + 1 edge servers, of which f + 1 are honest as long as f lie. "
                    "Shares travel under the devices' group key, so the edge servers need one "
                    "colluding device, or to have colluded since before the key was confirmed.",
        held=read > READ and not withheld and "block " in verified,
    )


def _recompute(run: Run) -> str:
    """What `bdn verify` says of an edge server's ledger."""
    store = run.edges[1].ledger.store
    chain = run.material.block.header.chain
    host = VectorHost(Ciphers(chain, run.material.settings, key_in(store.blob)), store.blob)
    try:
        verify_ledger(store, host.functions)
    except LedgerError as error:
        return str(error)
    return "nothing"


EXPERIMENTS = (
    Experiment("decryption-oracle", GROUP, PRIVACY_LEAK, decryption_oracle),
    Experiment("second-sum", GROUP, PRIVACY_LEAK, second_sum),
    Experiment("colluding-quorum", GROUP, PRIVACY_LEAK, colluding_quorum, prevented=False),
)
