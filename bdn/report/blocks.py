"""The ledger for the block explorer: every block as plain JSON values, without the blobs.

| key of a transaction | what |
|---|---|
| `raw`, `receipt_raw` | the Merkle leaves' bytes in base64, which the page hashes itself |
| `path`, `receipt_path` | the siblings up to the header's roots (RFC 6962, section 2.1.1), base64 |

A block's `lines` is gas by contract and source line; `calls_gas` is what no line stands for: the
calls themselves, their arguments and their results.
"""

import base64
from collections.abc import Mapping
from typing import Any

from bdn.chain import (
    BlobPayload,
    Block,
    LedgerError,
    RegisterDevice,
    Store,
    block_size,
    encode_envelope,
    encode_header,
    encode_receipt,
    encode_seal,
    header_digest,
    merkle,
    transaction_digest,
)
from bdn.chain.blocks import LEDGER
from bdn.chain.contracts import decode_value
from bdn.chain.seals import BlockSeal
from bdn.encoding import to_plain
from bdn.errors import BdnError
from bdn.report.formatting import described, size_text
from bdn.report.gas_profile import GasByLine, gas_by_line

PROOF_BUDGET = 900_000
"""Characters of base64 that a page spends on leaves and paths; later blocks go without."""

_LABELS = {"local_ms": "T_local, ms", "sample_count": "samples s_k", "root": "blob root",
           "chunks": "blob leaves", "size": "blob bytes", "source": "source digest"}

Names = Mapping[bytes, str]


def read_blocks(store: Store) -> dict[str, Any]:
    """All blocks, the contracts' sources, and gas by line where the replay agrees."""
    genesis = store.genesis()
    names = names_of(store)
    try:
        gas, note = gas_by_line(store), ""
    except BdnError as error:
        gas, note = [], f"Gas by line is left out: {error}"
    explorer = _Explorer(store, names, PROOF_BUDGET)
    blocks = [explorer.block(height) for height in range(store.height() + 1)]
    for block, lines in zip(blocks, gas, strict=False):
        block["lines"] = _by_contract(lines)
        charged = sum(row["gas"] for row in block["transactions"])
        block["calls_gas"] = charged - sum(lines.values())
    return {"blocks": blocks, "sources": dict(genesis.contracts), "gas_note": note,
            "chain": blocks[0]["header"][0][1] if blocks else ""}


def describe_block(store: Store, height: int) -> dict[str, Any]:
    """The block at ``height`` as `read_blocks` gives it, whatever its size, without gas by line."""
    explorer = _Explorer(store, names_of(store), budget=None)
    for below in range(height):
        explorer.remember(below)
    return explorer.block(height)


def names_of(store: Store) -> dict[bytes, str]:
    """Names by address: devices as they registered, edge servers by their index."""
    genesis = store.genesis()
    names = {address: f"edge-{i}" for i, address in enumerate(genesis.edge_addresses)}
    for envelope in store.block(0).envelopes:
        if isinstance(envelope.payload, RegisterDevice):
            names[envelope.address] = envelope.payload.name
    names |= {account: "treasury" for account, _ in genesis.balances if account not in names}
    return names


class _Explorer:
    """Walks the blocks in order, remembering each slot's last value for the state diff.

    ``budget`` is what it may spend on proofs, in characters; None: as much as they need.
    """

    def __init__(self, store: Store, names: Names, budget: int | None) -> None:
        self.store, self.names = store, names
        self.left = budget
        self.state: dict[tuple[bytes, bytes], bytes | None] = {}

    def block(self, height: int) -> dict[str, Any]:
        block, seal = self.store.block(height), self.store.seal(height)
        encoded_seal = None if seal is None else encode_seal(seal)
        size = block_size(block, encoded_seal)
        fields = to_plain(block.header)
        return {
            "height": height, "kind": block.header.kind, "epoch": block.header.epoch,
            "time": block.header.time, "digest": header_digest(block.header).hex(),
            "raw": _base64(encode_header(block.header)),
            "roots": [block.header.transactions_root.hex(), block.header.receipts_root.hex()],
            "header": [[name, value.hex() if name != "proposer" and isinstance(value, bytes)
                        else described(value, self.names)] for name, value in fields.items()],
            "seal": _seal(seal),
            "size": [[what, size_text(count)] for what, count in (
                ("header h", size.header), (f"{size.updates} updates S·n", size.update_bytes),
                ("Tx_co", size.aggregate), ("other transactions", size.other),
                ("seal", size.seal), ("total", size.total)) if count],
            "bytes": size_text(size.total),
            "transactions": self._transactions(block),
            "changes": self._changes(height),
        }

    def _transactions(self, block: Block) -> list[dict[str, Any]]:
        receipts = self.store.receipts(block.header.height)
        leaves = [encode_envelope(envelope) for envelope in block.envelopes]
        outcomes = [encode_receipt(receipt) for receipt in receipts]
        rows = []
        for position, (envelope, receipt) in enumerate(
                zip(block.envelopes, receipts, strict=True)):
            payload = envelope.payload
            blob = size_text(payload.size) if isinstance(payload, BlobPayload) else ""
            rows.append({
                "kind": type(payload).__name__, "sender": described(envelope.address, self.names),
                "nonce": envelope.nonce, "digest": transaction_digest(envelope).hex(),
                "blob": blob, "ok": receipt.ok, "status": receipt.status,
                "gas": receipt.gas_used, "error": receipt.error or "",
                "fields": [[_LABELS.get(name, name.replace("_", " ")), described(value, self.names)]
                           for name, value in to_plain(payload).items()],
                "events": [[f"{event.contract}.{event.name}", described(event.fields, self.names)]
                           for event in receipt.events],
            })
            self._prove(rows[-1], leaves, outcomes, position)
        return rows

    def _prove(
        self, row: dict[str, Any], leaves: list[bytes], outcomes: list[bytes], position: int
    ) -> None:
        """Add leaf and path of transaction and receipt, while the page's budget lasts."""
        proof = {
            "raw": _base64(leaves[position]),
            "path": [_base64(item) for item in merkle.inclusion_proof(leaves, position)],
            "receipt_raw": _base64(outcomes[position]),
            "receipt_path": [_base64(item) for item in merkle.inclusion_proof(outcomes, position)],
        }
        if self.left is not None:
            self.left -= sum(len(text) for item in proof.values() for text in item)
        if self.left is None or self.left >= 0:
            row |= proof

    def remember(self, height: int) -> None:
        """Take note of what the block wrote, without describing it."""
        for contract, key, value in self.store.writes(height):
            self.state[contract, key] = value

    def _changes(self, height: int) -> list[list[str]]:
        """[slot, value before, value after] for what the block wrote."""
        changes = []
        for contract, key, value in self.store.writes(height):
            before = self.state.get((contract, key))
            self.state[contract, key] = value
            name = contract.decode(errors="replace")
            try:
                changes.append([self._slot(name, key), self._value(name, before),
                                self._value(name, value)])
            except BdnError as error:
                raise LedgerError(f"block {height}, state", str(error)) from error
        return changes

    def _slot(self, contract: str, key: bytes) -> str:
        if contract == LEDGER:
            name, _, rest = key.partition(b"/")
            known = self.names.get(rest) or rest.decode("ascii", errors="replace")
            return f"{name.decode('ascii', errors='replace')}{'/' if rest else ''}{known}"
        slot = decode_value(key)
        if not isinstance(slot, (list, tuple)) or not slot or not isinstance(slot[0], str):
            raise LedgerError("storage", f"key {key[:40].hex()} is not a name with its keys")
        name, *parts = slot
        keys = ", ".join(described(part, self.names) for part in parts)
        return f"{contract}.{name}" + (f"[{keys}]" if parts else "")

    def _value(self, contract: str, value: bytes | None) -> str:
        if value is None:
            return ""
        if contract == LEDGER:
            return str(int.from_bytes(value, "big")) if len(value) <= 8 else value.hex()[:16] + "…"
        return described(decode_value(value), self.names)


def _seal(seal: BlockSeal | None) -> dict[str, Any]:
    if seal is None:
        return {"text": "No seal: everybody trusts the genesis block from the start."}
    plain = to_plain(seal)
    if "signatures" in plain:
        signers = [f"edge-{index}" for index, _ in plain["signatures"]]
        return {"view": plain["view"], "signers": signers,
                "text": f"Sealed in view {plain['view']} by {', '.join(signers)}."}
    return {"text": f"Mined: difficulty {plain['difficulty']}, nonce {plain['nonce']}."}


def _by_contract(lines: GasByLine) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = {}
    for (contract, line), gas in sorted(lines.items()):
        found.setdefault(contract, {})[line] = gas
    return found


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
