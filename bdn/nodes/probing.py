"""The norm check at a key holder: open the probes of an epoch's updates, and state the norms.

docs/norm-check.md. A probe shows a few random sums of one device's update, so a holder is as
careful with it as with an aggregate: it opens only probes that stand in a sealed block with a
receipt, of the shape that the settings fix, and at most one set for an (epoch, phase), which it
writes down before it makes a share.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bdn.chain import NormStatement, ProbeTransaction, ShareTransaction, blob_root
from bdn.nodes import memory
from bdn.nodes.events import Compute, Effect, Persist, SetTimer
from bdn.nodes.group import HeldShare
from bdn.nodes.interface import ContractInterface
from bdn.nodes.probes import packed, probe_phase, read_norms, share_probes
from bdn.nodes.reading import Reader
from bdn.nodes.sealing import Ciphers, share_session
from bdn.nodes.settings import Settings
from bdn.paillier import KeyShare, PackedCipher
from bdn.randomness import Randomness
from bdn.trace import DISCARD, Trace

PROBE_TURN = "probe-turn"
"""Timer: a key holder whose turn comes late helps to open the probes after all."""

SHARE_WORK, NORM_WORK = "probe-share", "norms"
"""Names of the work that `Probing` hands out."""


def rounds_late(settings: Settings, index: int, height: int) -> int:
    """How many deadlines key holder ``index`` waits before it helps: 0 for t of them.

    The first t holders, turning with the height of what is opened, share at once.
    """
    rank = (index - 1 - height) % settings.key_holders
    return max(0, rank - settings.threshold + 1)


@dataclass(slots=True)
class Probe:
    """The probes that are being opened, and what has come of it."""

    transaction: ProbeTransaction
    height: int
    shares: dict[int, bytes] = field(default_factory=dict)
    """Roots of the shares' blobs, by key holder."""
    turn: bool = False
    busy: bool = False
    own_share: bytes = b""
    tried: int = 0
    norms: tuple[int, ...] | None = None
    stated: bool = False


class Probing:
    """One device's part in the norm check.

    Args:
        name: the device's, for the trace.
        settings: from genesis.
        key_share: its part of the key; without one it has nothing to do here.
        group_key: gives the devices' group key.
        reader, interface: its eyes, and its line to the ledger.
        ciphers: by epoch and phase.
        terms: gives what vectors at a height are sealed under.
        addresses: all devices', the key holders' first.
        promised: what it has promised to open, by (epoch, phase); shared with the device.
        rng: for shares.
        trace: told what happens.
    """

    def __init__(
        self, name: str, settings: Settings, key_share: KeyShare | None,
        group_key: Callable[[], bytes], reader: Reader, interface: ContractInterface,
        ciphers: Ciphers, terms: Callable[[int], tuple[bytes, bytes]], addresses: Sequence[bytes],
        promised: dict[tuple[int, str], bytes], rng: Randomness, trace: Trace = DISCARD,
    ) -> None:
        self._name = name
        self._settings = settings
        self._key_share = key_share
        self._group_key = group_key
        self._reader = reader
        self._interface = interface
        self._ciphers = ciphers
        self._chain = ciphers.chain
        self._terms = terms
        self._addresses = addresses
        self._promised = promised
        self._rng = rng
        self._trace = trace
        self._probes: dict[tuple[int, str], Probe] = {}

    # --- reading the ledger ---------------------------------------------------------------------

    def on_probe(
        self, transaction: ProbeTransaction, height: int
    ) -> list[Effect]:
        """Probes stand in the sealed block ``height``; whose turn is it to open them?"""
        probe = Probe(transaction, height)
        self._probes[transaction.epoch, transaction.phase] = probe
        self._trace.event("probed", node=self._name, height=height, epoch=transaction.epoch,
                          phase=transaction.phase, devices=len(transaction.devices))
        if self._key_share is None:
            return []
        late = rounds_late(self._settings, self._key_share.index, height)
        probe.turn = late == 0
        return [] if probe.turn else [SetTimer(PROBE_TURN, late * self._settings.deadline_ms)]

    def on_share(self, share: ShareTransaction) -> None:
        """A key holder's share of some probes, from the holder of that index."""
        for (epoch, phase), probe in self._probes.items():
            if (share.epoch, share.phase) == (epoch, probe_phase(phase)):
                probe.shares[share.index] = share.root

    def on_own_statement(self, statement: NormStatement) -> None:
        """Our statement is on the ledger."""
        probe = self._probes.get((statement.epoch, statement.phase))
        if probe is not None:
            probe.stated = True

    def on_turn(self) -> None:
        """The timer `PROBE_TURN` ran out."""
        for probe in self._probes.values():
            probe.turn = True

    def is_fixed(self, epoch: int, phase: str) -> bool:
        """Whether the updates of (epoch, phase) are probed: no more are taken."""
        return (epoch, phase) in self._probes

    def settle(self, epoch: int, phase: str) -> None:
        """The aggregate is there: these probes have served."""
        self._probes.pop((epoch, phase), None)

    # --- what comes next ------------------------------------------------------------------------

    def wanted_blobs(self, epoch: int, phase: str) -> list[bytes]:
        """The probes, and the shares of them, where it is our turn to look."""
        probe = self._probes.get((epoch, phase))
        if probe is None or not probe.turn or probe.stated:
            return []
        return [probe.transaction.root, *probe.shares.values()]

    def advance(self, epoch: int, phase: str) -> list[Effect]:
        """Share, read, state: whatever is possible now."""
        probe = self._probes.get((epoch, phase))
        if probe is None or self._key_share is None or not probe.turn or probe.busy:
            return []
        if self._key_share.index not in probe.shares:
            return self._send_share(probe) if probe.own_share else self._make_share(probe)
        if probe.norms is None:
            return self._read(probe)
        return [] if probe.stated else self._state(probe)

    def _cipher(self, probe: Probe) -> PackedCipher:
        at = probe.transaction
        return packed(self._ciphers.get(self._terms(probe.height), at.epoch, at.phase))

    def _make_share(self, probe: Probe) -> list[Effect]:
        at = probe.transaction
        name = (at.epoch, probe_phase(at.phase))
        if not self._may_open(at):
            probe.turn = False
            return []
        assert self._key_share is not None
        self._promised[name] = at.root
        probe.busy = True
        promise = memory.PromisedShare(*name, at.root)
        arguments = (
            self._cipher(probe).public_key, self._key_share, self._reader.blob(at.root),
            share_session(self._chain, *name), self._addresses[self._key_share.index - 1],
            self._group_key(), self._rng.substream(f"probe/{at.epoch}/{at.phase}"),
        )
        work = Compute(f"{SHARE_WORK}/{at.epoch}/{at.phase}", SHARE_WORK, share_probes, arguments)
        return [Persist(memory.encode(promise)), work]

    def _may_open(self, at: ProbeTransaction) -> bool:
        """The holder's own last word: the right number of sums, and no second set of them."""
        wrong = ""
        if not self._settings.is_checked(at.phase):
            wrong = "no probes belong to this phase"
        elif at.chunks != self._settings.norm_probes * len(set(at.devices)):
            wrong = "other sums than the settings ask for"
        elif self._promised.get((at.epoch, probe_phase(at.phase)), at.root) != at.root:
            wrong = "other probes were shared"
        if wrong:
            self._trace.event("share-withheld", node=self._name, reason=wrong)
        return not wrong

    def _send_share(self, probe: Probe) -> list[Effect]:
        assert self._key_share is not None
        if not self._reader.may_submit:
            return []
        at, blob = probe.transaction, probe.own_share
        payload = ShareTransaction(at.epoch, probe_phase(at.phase), self._key_share.index,
                                   blob_root(blob), 1, len(blob))
        return self._interface.submit(payload, [blob])

    def _read(self, probe: Probe) -> list[Effect]:
        enough = len(probe.shares) >= self._settings.threshold
        if not enough or len(probe.shares) <= probe.tried:
            return []
        probe.busy, probe.tried = True, len(probe.shares)
        at = probe.transaction
        arguments = (
            self._cipher(probe), self._reader.blob(at.root), self._settings.norm_probes,
            [HeldShare(i, self._addresses[i - 1], self._reader.blob(root))
             for i, root in sorted(probe.shares.items())],
            share_session(self._chain, at.epoch, probe_phase(at.phase)), self._group_key(),
        )
        return [Compute(f"{NORM_WORK}/{at.epoch}/{at.phase}", NORM_WORK, read_norms, arguments)]

    def _state(self, probe: Probe) -> list[Effect]:
        assert self._key_share is not None
        assert probe.norms is not None
        if not self._reader.may_submit:
            return []
        at = probe.transaction
        return self._interface.submit(
            NormStatement(at.epoch, at.phase, self._key_share.index, probe.norms))

    def on_computed(
        self, kind: str, epoch: int, phase: str, result: Any, error: Exception | None
    ) -> None:
        """A share was made, or the norms were read; bad shares: more will come."""
        probe = self._probes.get((epoch, phase))
        if probe is None:
            return
        probe.busy = False
        if error is not None:
            self._trace.event("not-opened", node=self._name, work=kind, reason=str(error))
        elif kind == SHARE_WORK:
            probe.own_share = result
        else:
            probe.norms = result
            self._trace.event("norms", node=self._name, epoch=epoch, phase=phase,
                              norms=list(result))
