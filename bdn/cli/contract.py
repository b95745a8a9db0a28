"""``bdn contract``: check a source, and run one of its functions on an empty state.

Arguments are written as literals: ``5``, ``true``, ``'text'``, ``b'bytes'``, ``[1, 2]``,
``{'a': 1}``, ``None``, and ``hex:00ff`` for bytes in hexadecimal.
"""

import ast
import difflib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bdn.chain.contracts import (
    CallReceipt,
    Contract,
    ContractError,
    MemoryState,
    compile_contract,
    decode_value,
)
from bdn.chain.contracts.limits import MAX_SOURCE
from bdn.chain.contracts.values import check_value, to_plain
from bdn.errors import UsageError, shown

MAX_SHOWN = 2000
"""Characters of a value that is shown."""


@click.group()
def contract() -> None:
    """Check and run contracts."""


@contract.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def check(file: Path, as_json: bool) -> None:
    """Check FILE, and list its storage and functions, or say where it is wrong."""
    compiled = _load(file)
    module = compiled.module
    functions: list[dict[str, Any]] = [
        {"name": f.name, "parameters": [p.name for p in f.parameters], "line": f.line,
         "callers": _callers(f.public, f.view, f.callers)} for f in module.functions.values()]
    if as_json:
        click.echo(json.dumps({"contract": compiled.name, "storage": list(module.storage),
                               "contracts": sorted(module.contracts),
                               "hosts": sorted(module.hosts), "functions": functions}))
        return
    click.echo(f"{file.name}: correct; gas table {compiled.table.version}")
    if module.storage:
        click.echo(f"storage: {', '.join(module.storage)}")
    for kind, names in (("contracts", module.contracts), ("host functions", module.hosts)):
        if names:
            click.echo(f"{kind}: {', '.join(sorted(names))}")
    for function in functions:
        click.echo(f"{function['name']}({', '.join(function['parameters'])}): "
                   f"{function['callers']}")


@contract.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("function")
@click.argument("args", nargs=-1)
@click.option("--gas", default=1_000_000, show_default=True, type=click.IntRange(min=0),
              help="The most that the call may cost.")
@click.option("--sender", default="", help="The sender, as text or hex:….")
@click.option("--engine", type=click.Choice(["closures", "walker"]), default="closures",
              show_default=True, help="The compiled engine, or the specification.")
@click.option("--profile", is_flag=True, help="Show the gas of each source line.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def run(file: Path, function: str, args: tuple[str, ...], gas: int, sender: str, engine: str,
        profile: bool, as_json: bool) -> None:
    """Call FUNCTION of FILE with ARGS on an empty state, and show its receipt.

    The exit status is 0 when the call succeeded, 1 when it did not, 2 for bad input.
    """
    compiled, state = _load(file), MemoryState()
    if function not in compiled.module.functions:
        raise UsageError(f"{file} has no function {shown(function)}"
                         f"{_nearest(function, compiled.module.functions)}")
    lines: dict[tuple[str, int], int] | None = {} if profile else None
    receipt = compiled.call(function, [parse_argument(arg) for arg in args], gas=gas,
                            sender=_as_bytes(sender), state=state, engine=engine, profile=lines)
    by_line = {line: used for (_, line), used in sorted((lines or {}).items())}
    if as_json:
        answer = receipt.to_plain() | {"state": _entries(state)}
        if profile:
            answer["profile"] = by_line
        click.echo(json.dumps(answer, default=_hexadecimal))
    else:
        _show(file, receipt, state)
        if profile:
            _show_profile(compiled, by_line, receipt.gas_used)
    if not receipt.ok:
        raise click.exceptions.Exit(1)


# --- input --------------------------------------------------------------------------------------


def parse_argument(text: str) -> Any:
    """The value that ``text`` writes; raises `UsageError` with the forms that are understood."""
    if text.startswith("hex:"):
        return _as_bytes(text)
    if text in ("true", "false"):
        return text == "true"
    try:
        value = ast.literal_eval(text)
        check_value(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        why = f": {error}" if isinstance(error, UsageError) else ""
        raise UsageError(f"the argument {shown(text)} is no value of the contract language{why}; "
                         "write 5, true, 'text', b'bytes', hex:00ff, [1, 2] or {'a': 1} (and quote "
                         "it for the shell)") from error
    return value


def _as_bytes(text: str) -> bytes:
    if not text.startswith("hex:"):
        return text.encode(errors="surrogateescape")  # the bytes that the shell gave
    try:
        return bytes.fromhex(text[4:])
    except ValueError as error:
        raise UsageError(f"{shown(text)} is not hexadecimal") from error


def _load(file: Path) -> Contract:
    """Compile ``file``; a refusal names it. Reads no more of it than a source may have."""
    try:
        with file.open("rb") as stream:
            data = stream.read(4 * MAX_SOURCE + 1)
        source = data.decode()
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError) and len(data) <= 4 * MAX_SOURCE:
            raise UsageError(f"{file} is no text in UTF-8, from byte {error.start} on") from error
        if isinstance(error, UnicodeDecodeError):
            raise UsageError(f"{file}: a source has at most {MAX_SOURCE} characters") from error
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"cannot read {file}: {why}") from error
    name = file.name.partition(".")[0].replace("-", "_")
    try:
        return compile_contract(source, name if re.fullmatch("[A-Za-z_][A-Za-z_0-9]*", name)
                                else "contract")
    except ContractError as error:
        raise type(error)(error.reason, error.line, error.column, str(file)) from error


def _nearest(word: str, words: Iterable[str]) -> str:
    """A hint at the right word: the nearest one, or else all."""
    known = sorted(words)
    near = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {near[0]}?" if near else f"; it has {shown_list(known)}"


def shown_list(words: Sequence[str]) -> str:
    """The first words of a list, and how many more there are."""
    more = f" and {len(words) - 10} more" if len(words) > 10 else ""
    return ", ".join(words[:10]) + more if words else "none"


# --- output -------------------------------------------------------------------------------------


def _callers(public: bool, view: bool, callers: frozenset[str]) -> str:
    who = (["anyone, changes nothing"] if view else []) + (["transactions"] if public else [])
    who += sorted(callers)
    return ", ".join(who) if who else "private"


def _show(file: Path, receipt: CallReceipt, state: MemoryState) -> None:
    click.echo(f"{receipt.status}, {receipt.gas_used} gas")
    if receipt.error is not None:
        click.echo(f"{file}: {receipt.error}")
    if receipt.result is not None:
        click.echo(f"result: {_literal(receipt.result)}")
    for event in receipt.events:
        fields = ", ".join(f"{name}={_literal(value)}" for name, value in event.fields.items())
        click.echo(f"event {event.name}: {fields}")
    for (_, key), value in sorted(state.entries.items()):
        name, *keys = decode_value(key)
        place = f"[{', '.join(map(_literal, keys))}]" if keys else ""
        click.echo(f"storage.{name}{place} = {_literal(decode_value(value))}")


def _literal(value: Any) -> str:
    """``value`` as it is written in a source, its beginning only if it is long."""
    try:
        text = repr(value)
    except ValueError:  # an integer beyond what Python was told to print
        return shown(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}... ({len(text)} characters)"


def _entries(state: MemoryState) -> list[dict[str, Any]]:
    """What the call wrote, decoded, as JSON carries it."""
    result = []
    for (_, key), value in sorted(state.entries.items()):
        name, *keys = decode_value(key)
        result.append({"name": name, "keys": keys, "value": to_plain(decode_value(value))})
    return result


def _show_profile(compiled: Contract, by_line: dict[int, int], total: int) -> None:
    table = Table("line", "gas", "source")
    lines = compiled.module.source.split("\n")
    for line, used in by_line.items():
        table.add_row(str(line), str(used), Text(lines[line - 1].rstrip()))
    Console().print(table)
    click.echo(f"{total - sum(by_line.values())} gas for the call, its arguments and its result")


def _hexadecimal(value: Any) -> str:
    if isinstance(value, bytes):
        return "hex:" + value.hex()
    raise TypeError(f"a {type(value).__name__} in a receipt")
