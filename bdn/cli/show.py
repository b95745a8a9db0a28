"""``bdn show``: a run, or one of its blocks, in the terminal."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

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
from bdn.cli.blocks import print_block, print_gas
from bdn.cli.options import NamedPath
from bdn.cli.overview import print_blocks, print_epoch, print_run
from bdn.cli.screen import PlainConsole
from bdn.cli.tables import print_confusion
from bdn.encoding import to_plain
from bdn.errors import UsageError
from bdn.experiments.folder import RunFolder
from bdn.report import (
    describe_block,
    gas_by_line,
    longest_ledger,
    read_confusion,
    read_inputs,
)
from bdn.runfolder import HISTORY, LEDGER


@click.command()
@click.argument("folder", metavar="RUN", type=NamedPath())
@click.argument("height", metavar="[HEIGHT]", type=int, required=False)
@click.option("--gas", is_flag=True, help="With HEIGHT: gas by source line of the contracts, too.")
@click.option("--epoch", type=click.IntRange(min=0),
              help="What was said in an epoch, in order; 0: the set-up.")
@click.option("--confusion", is_flag=True,
              help="The confusion matrix of the best model; with --epoch, of that epoch's model.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(
    folder: Path, height: int | None, gas: bool, epoch: int | None, confusion: bool, as_json: bool
) -> int:  # fmt: skip
    """Show the run in folder RUN, or one of its blocks.

    The run: curves, latency by stage, nodes, blocks, refusals, the paper's Table 1 with the attack
    lab's outcomes. The block at HEIGHT: header, seal, transactions with events and gas, what it
    wrote, and whether each transaction lies below the header's root; exit status 1 where one does
    not.
    """
    path = _ledger(folder)
    if gas and (height is None or as_json):
        raise UsageError("--gas is shown with a block's HEIGHT, and as text")
    if confusion:
        if height is not None or as_json:
            raise UsageError("--confusion is shown without a HEIGHT, and as text; history.json "
                             "and trace.jsonl hold the figures")
        print_confusion(*read_confusion(folder, epoch), PlainConsole())
        return 0
    if epoch is not None and (height is not None or as_json):
        raise UsageError("--epoch is shown without a HEIGHT, and as text")
    with Store.open(path, read_only=True) as store:
        if epoch is not None:
            print_epoch(folder, store, epoch, PlainConsole())
            return 0
        if height is None:
            return _show_run(folder, store, as_json)
        if not 0 <= height <= store.height():
            raise UsageError(f"{path} has no block {height}; its blocks are 0 to "
                             f"{store.height()}")
        if as_json:
            click.echo(json.dumps(_describe(store, height)))
            return 0
        lines = gas_by_line(store)[height] if gas else None
        console = PlainConsole()
        sound = print_block(describe_block(store, height), console)
        if lines is not None:
            print_gas(lines, dict(store.genesis().contracts), console)
        return 0 if sound else 1


def _ledger(folder: Path) -> Path:
    """The run's ledger, the longest one where edge servers' differ; or the file itself."""
    if folder.is_dir() and (folder / LEDGER).is_file():
        return longest_ledger(folder)
    path = folder / LEDGER if folder.is_dir() else folder
    if not path.is_file():
        raise UsageError(f"there is no ledger at {path}")
    return path


def _show_run(folder: Path, store: Store, as_json: bool) -> int:
    """The run as far as it can be read; exit status 2 where a file of it is damaged."""
    rows = [_summary(store.block(number), store.seal(number))
            for number in range(store.height() + 1)]
    ended = folder.is_dir() and (folder / HISTORY).exists()
    if as_json:
        history = RunFolder(folder).read_history() if ended else None
        click.echo(json.dumps({"blocks": rows, "history": history}))
        return 0
    console = PlainConsole()
    if not ended:
        print_blocks(rows, console)
        if folder.is_dir():
            click.echo(f"The run did not end; go on with: bdn resume {folder}")
        return 0
    try:
        inputs = read_inputs(folder, without_lab=True)
    except UsageError as error:
        print_blocks(rows, console)
        click.echo(f"bdn: {error}", err=True)
        return 2
    print_run(inputs, store, rows, console)
    if inputs.damage:
        click.echo(f"bdn: {inputs.damage}", err=True)
    return 2 if inputs.damage else 0


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
