"""Who tries to read what a device sends: Table 1's privacy leak.

    δ_k    the update of device k        w    a model        û    a reconstruction of u
    s_k    its samples                   t    shares that open an aggregate
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from bdn.chain import blob_root, pack_blob
from bdn.encoding import decode_union
from bdn.errors import PeerError
from bdn.experiments.lab.attackers import Tap
from bdn.experiments.lab.experiment import Experiment
from bdn.experiments.lab.small_runs import (
    READ,
    FirstEpoch,
    first_epoch,
    similarity,
    small_run,
    true_update,
)
from bdn.experiments.run import Run, opened_run
from bdn.nodes.device import journal
from bdn.nodes.device.opening import HeldShare, open_aggregate
from bdn.nodes.device.work import Floats
from bdn.nodes.group_key import GROUP_KEY_BYTES
from bdn.nodes.messages import Blob, Relay, Submit, decode_message
from bdn.paillier import KeyShare, PublicKey, RingMaskedCipher, SealedSum, deal
from bdn.paillier.errors import PaillierError
from bdn.paillier.keys import unpack_values
from bdn.paillier.threshold import open_shares, partially_decrypt_many
from bdn.paillier.vector.ring_attack import attack
from bdn.randomness import SeededRandomness
from bdn.runfolder.findings import PRIVACY_LEAK, Finding

GROUP = "who tries to read"
CLAIMED = ("Table 1, privacy leak: each device delivers a local update over its own private data, "
           "which protects it from a significant privacy leak. Section 5 measures the leak by the "
           "similarity of an update and its reconstruction from the encrypted update.")

WEIGHTS_OF_THE_ATTACK = (1, 2745)
ATTACKED_LENGTH = 4096


# --- the eavesdropper ---------------------------------------------------------------------------


def eavesdropper(key_bits: int) -> Finding:
    """Somebody hears every message on the network."""
    tap = Tap()
    with opened_run(small_run(key_bits), network=tap) as run:
        epoch = first_epoch(run)
        run.runner.run(run.is_over)
        update, w = true_update(run, 0), run.devices[0].progress.w
        truth = w.astype(np.float64) - run.material.participants.w
        without = _open_tapped(run, epoch, tap.messages, bytes(GROUP_KEY_BYTES))
        stolen = _open_tapped(run, epoch, tap.messages, _group_key(run, "device-2"))
    plain = update.astype("<f4")
    found = [share_found(vector, tap.messages) for vector in (plain, w.astype("<f4"))]
    in_fedavg = share_found(plain, [plain.tobytes()])
    masked, in_plain = correlation(_residues(epoch), update), correlation(plain, update)
    chance = 5 / float(np.sqrt(len(update)))
    read = 0.0 if stolen is None else similarity(truth, stolen)
    return Finding(
        tried="A tap on the whole network hears every message of a run. It looks for the bytes of "
              "an update and of the model, for a correlation of the masked values with the update, "
              "and for shares of the decryption.",
        happened=(
            (f"{len(tap.messages)} messages, {sum(map(len, tap.messages)) / 1e6:.1f} MB. Pairs of "
             f"neighbouring float32 of δ_1 found in them: {found[0]:.1%}; of w^(1): "
             f"{found[1]:.1%}. Control, plaintext FedAvg: {in_fedavg:.1%}."),
            (f"|Correlation| of the masked values with δ_1: {masked:.4f}; chance alone stays below "
             f"{chance:.4f}. Control, plaintext FedAvg: {in_plain:.4f}."),
            ("The sum, from shares heard, without the group key: "
             f"{'not opened' if without is None else 'OPENED'}."),
            ("Control, with the group key out of one device's stolen journal: opened, similarity "
             f"to the true step of the model {read:.3f}."),
        ),
        claimed=CLAIMED,
        not_covered="Who takes part, when, with how many samples and how much time is public on "
                    "the ledger. A stolen group key opens the global models of its key "
                    "generation, past ones too, though no single update.",
        held=max(found) == 0.0 and masked < chance and without is None
        and in_fedavg == 1.0 and in_plain > READ and read > READ,
    )


def share_found(vector: np.ndarray, messages: Iterable[bytes]) -> float:
    """The part of a float32 vector's neighbouring pairs that stand in the clear in ``messages``.

    Pairs with a zero, and pairs that occur twice, tell nothing and are not counted.
    """
    data = vector.tobytes()
    pairs = np.concatenate([np.frombuffer(data[at:len(data) - (len(data) - at) % 8], dtype="<u8")
                            for at in (0, 4)])
    halves = pairs.view("<u4").reshape(-1, 2)
    once, counts = np.unique(pairs[(halves != 0).all(axis=1)], return_counts=True)
    wanted = once[counts == 1]
    seen = np.zeros(len(wanted), dtype=bool)
    for message in dict.fromkeys(messages):  # most are sent to several nodes
        for at in range(8):
            words = np.frombuffer(message, dtype="<u8", count=max(0, len(message) - at) // 8,
                                  offset=min(at, len(message)))
            places = np.searchsorted(wanted, words)
            places[places == len(wanted)] = 0
            seen[places[wanted[places] == words]] = True
    return float(seen.mean())


def correlation(numbers: np.ndarray, update: Floats) -> float:
    """|Pearson's r|."""
    return abs(float(np.corrcoef(numbers.astype(np.float64), update)[0, 1]))


def _residues(epoch: FirstEpoch) -> Floats:
    """The masked values of device 1 that stand where δ_1's entries stand, float64 (|w|,)."""
    width = len(epoch.updates[0].ring) // epoch.cipher.length
    digits = np.frombuffer(epoch.updates[0].ring, dtype=np.uint8).reshape(-1, width)
    numbers: Floats = digits.astype(np.float64) @ (256.0 ** np.arange(width))
    return numbers[:-1]  # the last one is the loss


def _group_key(run: Run, name: str) -> bytes:
    """The group key out of a device's journal: what a thief of its memory finds."""
    records = (decode_union(journal.RECORDS, record) for record in run.store.journal(name))
    return next(record.group_key for record in records if isinstance(record, journal.KeptKey))


def _open_tapped(
    run: Run, epoch: FirstEpoch, messages: Sequence[bytes], group_key: bytes
) -> Floats | None:
    """The step Σ s_k δ_k / s as whoever holds ``messages`` and ``group_key`` can open it."""
    blobs = {}
    for data in dict.fromkeys(messages):
        message = decode_message(data)
        if isinstance(message, Submit | Relay):
            blobs.update({blob_root(blob): blob for blob in message.blobs})
        elif isinstance(message, Blob):
            blobs[blob_root(message.data)] = message.data
    total = pack_blob(epoch.total.leaves())
    candidates = [HeldShare(i + 1, identity.address, blob)  # whose a blob is shows when it opens
                  for blob in blobs.values() if blob != total
                  for i, identity in enumerate(run.material.devices)]
    try:
        opened = open_aggregate(epoch.cipher, total, candidates, epoch.session, group_key)
    except (PeerError, PaillierError):
        return None
    return opened[:-1] / sum(epoch.samples)


# --- key holders --------------------------------------------------------------------------------


def colluding_holders(key_bits: int) -> Finding:
    """An edge server and t − 1 key holders pool everything that they have."""
    with opened_run(small_run(key_bits, threshold=3)) as run:
        epoch = first_epoch(run)
        truth, holders = true_update(run, 3), [s for s in run.material.shares if s is not None]
    t = run.config.threshold
    one = epoch.cipher.weighted_sum([epoch.updates[3]], [epoch.samples[3]])
    targets = {"device 4's update": one, "the sum": epoch.total}
    said = {what: {how: try_to(epoch, target, holders[:t - 1]) for how, try_to in WAYS.items()}
            for what, target in targets.items()}
    parts = [epoch.cipher.partially_decrypt(share, one) for share in holders[:t]]
    read = similarity(truth, epoch.cipher.open(one, parts)[:-1] / epoch.samples[3])
    return Finding(
        tried=f"The edge server that holds all ciphertexts and {t - 1} of {len(holders)} key "
              f"holders (t = {t}) try to open device 4's update, and the sum: by the rules, by "
              "combining as if t were smaller, and with an invented share.",
        happened=(
            *(f"{what[0].upper()}{what[1:]}: "
              f"{', '.join(f'{how} “{text or OPENED}”' for how, text in texts.items())}."
              for what, texts in said.items()),
            (f"Control, {t} key holders: device 4's update is opened, similarity {read:.3f} "
             "(knowing nothing: 0.500)."),
        ),
        claimed="Section 4.2: each device has a fraction of the secret key SK, and a global update "
                "is decrypted with the cooperatively created key. " + CLAIMED,
        not_covered="t key holders together with an edge server open any device's update, with no "
                    "trace on the ledger. A large t is safer against collusion, and a smaller one "
                    "against devices that vanish.",
        held=all(all(texts.values()) for texts in said.values()) and read > READ,
    )


def _plainly(epoch: FirstEpoch, target: SealedSum, holders: Sequence[KeyShare]) -> str:
    """What the cipher says to too few shares; "" where it opens."""
    parts = [epoch.cipher.partially_decrypt(share, target) for share in holders]
    try:
        epoch.cipher.open(target, parts)
    except PaillierError as error:
        return str(error)
    return ""


def _bending(epoch: FirstEpoch, target: SealedSum, holders: Sequence[KeyShare]) -> str:
    """Interpolate as if the key's polynomial had a smaller degree."""
    key = replace(epoch.public_key, threshold=len(holders))
    return _combined(key, target, holders)


def _guessing(epoch: FirstEpoch, target: SealedSum, holders: Sequence[KeyShare]) -> str:
    """Invent the share that is missing."""
    key = epoch.public_key
    invented = SeededRandomness(7).below(key.N * key.N)
    missing = KeyShare(key, holders[-1].index + 1, invented)
    return _combined(key, target, [*holders, missing])


def _combined(key: PublicKey, target: SealedSum, holders: Sequence[KeyShare]) -> str:
    """Why interpolating these holders' partial decryptions opens nothing; "" where it does."""
    ciphertexts = unpack_values(key, target.ciphertexts)
    values = {share.index: partially_decrypt_many(share, ciphertexts).values for share in holders}
    try:
        open_shares(key, values)
    except PaillierError as error:
        return str(error)
    return ""


OPENED = "OPENED"
WAYS = {"by the rules": _plainly, "as if t were smaller": _bending,
        "with an invented share": _guessing}


# --- weights ------------------------------------------------------------------------------------


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
            ("Control, weights applied by the edge: "
             f"{naive.exact[0]:.1%} and {naive.exact[1]:.1%} of the entries recovered exactly."),
            ("Weights inside the message (ours): "
             f"{ours.exact[0]:.3%} and {ours.exact[1]:.3%}; guessing gives {chance:.3%}."),
        ),
        claimed="Section 4.2: if a device does not reveal its local update, then no one can obtain "
                "information about it.",
        not_covered="A device may still declare a weight that its data does not have.",
        held=min(naive.exact) > 0.99 and max(ours.exact) < 0.01,
    )


EXPERIMENTS = (
    Experiment("eavesdropper", GROUP, PRIVACY_LEAK, eavesdropper),
    Experiment("colluding-holders", GROUP, PRIVACY_LEAK, colluding_holders),
    Experiment("edge-weights", GROUP, PRIVACY_LEAK, edge_weights),
)
