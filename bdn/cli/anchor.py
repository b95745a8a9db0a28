"""``bdn anchor``: put a run's ledger on Ethereum, compare the two, and prove a lie."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from bdn.arguments import read_bounded
from bdn.chain import Store
from bdn.errors import UsageError
from bdn.ethereum import (
    PHASES,
    AnchorResult,
    EthereumNode,
    Plan,
    Record,
    Verdict,
    anchor_run,
    challenge,
    compare,
    connect,
    falsify,
    find_contract,
    gather_evidence,
    in_process,
    read_plan,
    read_round,
)
from bdn.runfolder import LEDGER

MAX_PROOF = 1 << 28
"""Bytes of an update that a challenge brings."""

Command = TypeVar("Command", bound=Callable[..., Any])


class AnchorGroup(click.Group):
    """``bdn anchor RUN`` is ``bdn anchor run RUN``: the first word may be the folder."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command's name in where no command is named."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["run", *args]
        return super().parse_args(ctx, args)


def _options(command: Command) -> Command:
    """What all three commands take."""
    for add in (
        click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON."),
        click.option("--contract", metavar="ADDRESS", help="Use this contract, not the recorded."),
        click.option("--chain-id", type=int, metavar="ID", help="Refuse a node of another chain."),
        click.option("--keys", type=click.Path(path_type=Path), metavar="FILE",
                     help="Private keys, one in hexadecimal a line; else the node's accounts."),
        click.argument("folder", metavar="RUN", type=click.Path(path_type=Path)),
    ):
        command = add(command)
    return command


@click.group(cls=AnchorGroup, subcommand_metavar="[COMMAND] RUN")
def anchor() -> None:
    """Anchor a run on Ethereum, and prove a lie.

    `bdn anchor RUN` does it on a chain in this process, to look at and for what it costs; with
    `--rpc URL` on a real one. Needs: pip install 'bdn[ethereum]'.
    """


@anchor.command()
@click.option("--rpc", metavar="URL", help="A node's JSON-RPC address; else a chain in process.")
@click.option("--new", is_flag=True, help="Deploy a new contract, even where one is recorded.")
@_options
def run(
    folder: Path, rpc: str | None, new: bool, keys: Path | None, chain_id: int | None,
    contract: str | None, as_json: bool,
) -> int:
    """Anchor what RUN's ledger holds and the chain does not (the default command).

    Account i of the node, or key i of FILE, speaks for edge server i. Exit status 1 where a round
    is anchored already, otherwise than the ledger has it.
    """
    if rpc is None and (keys or chain_id or contract or new):
        raise UsageError("--keys, --chain-id, --contract and --new need a node: --rpc URL")
    with _opened(folder) as (store, record):
        plan = read_plan(store)
        node = in_process() if rpc is None else connect(rpc, keys, chain_id)
        outcome = anchor_run(node, plan, record if rpc is not None else Record(None),
                             _teller(as_json), contract, new)
    if as_json:
        click.echo(json.dumps({
            "contract": outcome.contract, "chain_id": node.chain_id,
            "transactions": [{"what": what, "gas": gas} for what, gas in outcome.gas],
            "already": outcome.already, "conflicts": outcome.conflicts,
        }))
    else:
        _print_outcome(outcome, node)
    return 1 if outcome.conflicts else 0


@anchor.command()
@click.option("--rpc", metavar="URL", required=True, help="A node's JSON-RPC address.")
@_options
def verify(
    folder: Path, rpc: str, keys: Path | None, chain_id: int | None, contract: str | None,
    as_json: bool,
) -> int:
    """Compare RUN's ledger with what is anchored, round by round.

    The ledger itself is checked by `bdn verify`. Exit status 0 when they agree, 1 when not.
    """
    with _opened(folder) as (store, record):
        plan = read_plan(store)
        node = connect(rpc, keys, chain_id)
        found = find_contract(node, plan.setup, record, contract)
        differences = compare(node, found, plan)
    if as_json:
        click.echo(json.dumps({"ok": not differences, "contract": found.address,
                               "rounds": len(plan.rounds), "differences": differences}))
    elif differences:
        click.echo("\n".join(f"DIFFERS: {text}" for text in differences), err=True)
    else:
        click.echo(f"{found.address} on chain {node.chain_id} agrees with the ledger: "
                   f"{len(plan.setup.devices)} devices, {len(plan.rounds)} rounds")
    return 1 if differences else 0


@anchor.command("challenge")
@click.option("--rpc", metavar="URL", help="A node's JSON-RPC address; else a chain in process.")
@click.option("--epoch", type=int, required=True, metavar="P", help="The epoch.")
@click.option("--index", type=int, required=True, metavar="I", help="The ciphertext.")
@click.option("--phase", type=click.Choice(PHASES), default="weights", show_default=True)
@click.option("--claimed", type=click.Path(path_type=Path), metavar="FILE",
              help="The anchored aggregate's blob, where it is not in the ledger.")
@click.option("--lie", is_flag=True, help="In process: let the edge server lie at this index.")
@_options
def challenge_command(
    folder: Path, rpc: str | None, epoch: int, index: int, phase: str, claimed: Path | None,
    lie: bool, keys: Path | None, chain_id: int | None, contract: str | None, as_json: bool,
) -> int:
    """Show the contract ciphertext I of epoch P: of every update and of the aggregate.

    The contract computes Eq. (5) for it and flags a lie. Exit status 0 when the aggregate is right
    there, 1 when a lie was proven.
    """
    if rpc is None and (keys or chain_id or contract or claimed):
        raise UsageError("--keys, --chain-id, --contract and --claimed need a node: --rpc URL")
    if rpc is not None and lie:
        raise UsageError("--lie plays with a chain in this process; leave out --rpc")
    with _opened(folder) as (store, record):
        plan = read_plan(store)
        if rpc is None:
            verdict = _challenge_in_process(store, plan, (epoch, phase, index), lie)
        else:
            node = connect(rpc, keys, chain_id)
            found = find_contract(node, plan.setup, record, contract)
            blob = None if claimed is None else _read(claimed)
            verdict = _challenge(node, found, store, plan, (epoch, phase, index), blob)
    _print_verdict(verdict, (epoch, phase, index), as_json)
    return 1 if verdict.lie else 0


def _challenge_in_process(
    store: Store, plan: Plan, where: tuple[int, str, int], lie: bool
) -> Verdict:
    """Anchor that one round, with or without a lie, and challenge it."""
    epoch, phase, index = where
    planned, blob = plan.find(epoch, phase), None
    if lie:
        planned, blob = falsify(planned, plan.setup, index, store.blob)
    node, record = in_process(), Record(None)
    anchor_run(node, replace(plan, rounds=(planned,)), record)
    found = find_contract(node, plan.setup, record)
    return _challenge(node, found, store, plan, where, blob)


def _challenge(
    node: EthereumNode, contract: Any, store: Store, plan: Plan, where: tuple[int, str, int],
    claimed: bytes | None,
) -> Verdict:
    epoch, phase, index = where
    item = read_round(node, contract, epoch, PHASES.index(phase))
    evidence = gather_evidence(item, plan.setup, index, store.blob, claimed)
    if not node.accounts:
        raise UsageError(f"{node.where} manages no accounts; give a private key with --keys FILE")
    return challenge(node, contract, item, plan.setup, evidence, node.accounts[0])


def _print_verdict(verdict: Verdict, where: tuple[int, str, int], as_json: bool) -> None:
    epoch, phase, index = where
    if as_json:
        click.echo(json.dumps({"epoch": epoch, "phase": phase, "index": index,
                               "lie": verdict.lie, "gas": verdict.gas}))
    elif verdict.lie:
        click.echo(f"LIE PROVEN: ciphertext {index} of epoch {epoch}, {phase}, is not what Eq. (5) "
                   f"gives; the contract has flagged it ({verdict.gas:,} gas)")
    else:
        click.echo(f"The contract computed Eq. (5) for ciphertext {index} of epoch {epoch}, "
                   f"{phase}: the aggregate is right there, and nothing was flagged")


def _print_outcome(outcome: AnchorResult, node: EthereumNode) -> None:
    for name in outcome.already:
        click.echo(f"{name}: anchored before")
    for name in outcome.conflicts:
        click.echo(f"CONFLICT: {name} is anchored otherwise than the ledger has it; see bdn anchor "
                   "verify", err=True)
    total = sum(gas for _, gas in outcome.gas)
    click.echo(f"Contract {outcome.contract} on chain {node.chain_id} ({node.where}): "
               f"{len(outcome.gas)} transactions, {total:,} gas")


def _teller(quiet: bool) -> Callable[[str, int], None]:
    if quiet:
        return lambda *_: None
    return lambda what, gas: click.echo(f"{what} ({gas:,} gas)")


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path, MAX_PROOF)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


@contextmanager
def _opened(folder: Path) -> Iterator[tuple[Store, Record]]:
    """A run folder's ledger, for reading, and the record of where it is anchored."""
    path = folder / LEDGER
    if not path.is_file():
        raise UsageError(f"there is no ledger at {path}")
    store = Store.open(path, read_only=True)
    try:
        yield store, Record(folder)
    finally:
        store.close()
