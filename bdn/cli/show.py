"""``bdn show``: a run, or one of its blocks, in the terminal."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.tree import Tree

from bdn.chain import (
    Block,
    BlockSeal,
    Envelope,
    Receipt,
    Store,
    block_size,
    encode_seal,
    header_digest,
    transaction_digest,
)
from bdn.cli.tables import print_history
from bdn.encoding import to_plain
from bdn.errors import UsageError
from bdn.experiments.folder import HISTORY, LEDGER, RunFolder


@click.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("height", type=int, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(folder: Path, height: int | None, as_json: bool) -> None:
    """Show the run in folder RUN, or the block at HEIGHT: header, seal, transactions, receipts."""
    path = folder / LEDGER if folder.is_dir() else folder
    if not path.is_file():
        raise UsageError(f"there is no ledger at {path}")
    store = Store.open(path, read_only=True)
    try:
        if height is None:
            _show_run(folder, store, as_json)
            return
        if not 0 <= height <= store.height():
            raise UsageError(f"there is no block {height}; the last one is {store.height()}")
        described = _describe(store, height)
        if as_json:
            click.echo(json.dumps(described))
        else:
            _print_block(described)
    finally:
        store.close()


def _show_run(folder: Path, store: Store, as_json: bool) -> None:
    rows = [_summary(store.block(number), store.seal(number))
            for number in range(store.height() + 1)]
    ended = folder.is_dir() and (folder / HISTORY).is_file()
    history = RunFolder(folder).read_history() if ended else None
    if as_json:
        click.echo(json.dumps({"blocks": rows, "history": history}))
        return
    table = Table(title="Blocks", title_justify="left")
    for name in ("height", "kind", "epoch", "view", "transactions", "bytes", "digest"):
        table.add_column(name, justify="left" if name in ("kind", "digest") else "right")
    for row in rows:
        table.add_row(*(str(row[name]) for name in ("height", "kind", "epoch", "view",
                                                     "transactions", "bytes")), row["digest"][:16])
    Console().print(table)
    if history is not None:
        print_history(history, folder)
    else:
        click.echo(f"The run did not end; go on with: bdn resume {folder}")


def _summary(block: Block, seal: BlockSeal | None) -> dict[str, Any]:
    size = block_size(block, encode_seal(seal) if seal is not None else None)
    return {
        "height": block.header.height, "kind": block.header.kind, "epoch": block.header.epoch,
        "view": getattr(seal, "view", "") if seal is not None else "",
        "transactions": len(block.envelopes), "bytes": size.total, "digest": block.digest.hex(),
    }


def _describe(store: Store, height: int) -> dict[str, Any]:
    """A block as plain JSON values; bytes in hexadecimal."""
    block, seal = store.block(height), store.seal(height)
    described: dict[str, Any] = _hex({
        "digest": header_digest(block.header),
        "header": to_plain(block.header),
        "seal": None if seal is None else {"kind": type(seal).__name__, **to_plain(seal)},
        "size": asdict(block_size(block, encode_seal(seal) if seal is not None else None)),
        "transactions": [
            _transaction(envelope, receipt)
            for envelope, receipt in zip(block.envelopes, store.receipts(height), strict=True)
        ],
    })
    return described


def _transaction(envelope: Envelope, receipt: Receipt) -> dict[str, Any]:
    return {
        "digest": transaction_digest(envelope), "sender": envelope.address,
        "nonce": envelope.nonce, "payload": type(envelope.payload).__name__,
        "fields": to_plain(envelope.payload), "ok": receipt.ok, "gas": receipt.gas_used,
        "error": receipt.error,
        "events": [to_plain(event) for event in receipt.events],
    }


def _hex(value: Any) -> Any:
    """Bytes as hexadecimal text, all the way down."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: _hex(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_hex(item) for item in value]
    return value


def _print_block(block: dict[str, Any]) -> None:
    header = block["header"]
    tree = Tree(f"[bold]Block {header['height']}[/bold] ({header['kind']}, epoch "
                f"{header['epoch']})  {block['digest']}")
    branch = tree.add("header")
    for name, value in header.items():
        branch.add(f"{name}: {value}")
    seal = block["seal"]
    if seal is None:
        tree.add("no seal: the genesis block is what everybody trusts")
    elif "signatures" in seal:
        signers = ", ".join(f"edge-{index}" for index, _ in seal["signatures"])
        tree.add(f"sealed in view {seal['view']} by {signers}")
    else:
        tree.add(f"mined: difficulty {seal['difficulty']}, nonce {seal['nonce']}")
    tree.add("size: " + ", ".join(f"{name} {value}" for name, value in block["size"].items()))
    transactions = tree.add(f"{len(block['transactions'])} transactions")
    for item in block["transactions"]:
        outcome = "ok" if item["ok"] else f"[red]failed: {item['error']}[/red]"
        node = transactions.add(f"{item['payload']} from {item['sender'][:16]}… nonce "
                                f"{item['nonce']}: {outcome}, gas {item['gas']}")
        for name, value in item["fields"].items():
            text = str(value)
            node.add(f"{name}: {text if len(text) <= 80 else text[:77] + '…'}")
        for event in item["events"]:
            node.add(f"event {event['contract']}.{event['name']}")
    Console().print(tree, highlight=False)
