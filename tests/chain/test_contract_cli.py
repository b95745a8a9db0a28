"""``bdn contract check|run``: places of errors, receipts, gas per source line."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bdn.chain.contracts import ContractError
from bdn.cli.contract import contract, parse_argument
from bdn.errors import UsageError

SOURCE = '''
balances: map[bytes, int]
sum_of: int

@public
def add(to: bytes, amounts: list) -> int:
    for amount in amounts:
        storage.balances[to] = storage.balances.get(to, 0) + amount
        storage.sum_of += amount
    require(storage.sum_of < 100, "too much")
    emit("added", to=to, by=context.sender)
    return storage.sum_of

@view
def get() -> int:
    return _inner()

def _inner() -> int:
    return storage.sum_of
'''


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A contract in a file."""
    path = tmp_path / "adder.contract"
    path.write_text(SOURCE)
    return path


def test_check_lists_what_a_contract_has(file: Path) -> None:
    result = CliRunner().invoke(contract, ["check", str(file)])
    assert result.exit_code == 0
    assert "adder.contract: correct" in result.output
    assert "add(to, amounts): transactions" in result.output
    assert "get(): anyone, changes nothing" in result.output
    assert "_inner(): private" in result.output
    answer = json.loads(CliRunner().invoke(contract, ["check", "--json", str(file)]).output)
    assert answer["storage"] == ["balances", "sum_of"]


def test_check_says_where_a_contract_is_wrong(file: Path) -> None:
    """The class is a BdnError with line and column, which `bdn` prints in one line, status 2."""
    file.write_text(SOURCE + "\ndef more():\n    return x\n")
    result = CliRunner().invoke(contract, ["check", str(file)])
    assert isinstance(result.exception, ContractError)
    assert str(result.exception) == "adder:22:12: x may not have a value here"


def test_run_shows_the_receipt_the_state_and_the_profile(file: Path) -> None:
    runner = CliRunner()
    result = runner.invoke(contract, ["run", str(file), "add", "b'alice'", "[1, 2]", "--profile",
                                      "--sender", "edge"])
    assert result.exit_code == 0, result.output
    assert "result: 3" in result.output
    assert "event added: by=b'edge', to=b'alice'" in result.output
    assert "storage.balances[b'alice'] = 3" in result.output
    result = runner.invoke(contract, ["run", str(file), "add", "hex:00ff", "[1, 2]", "--json",
                                      "--profile"])
    answer = json.loads(result.output)
    assert answer["ok"] is True
    rest = answer["gas_used"] - sum(answer["profile"].values())  # call, arguments, result
    assert 150 <= rest < 300
    assert answer["state"][0] == {"name": "sum_of", "keys": [], "value": 3}
    assert answer["state"][1]["keys"] == ["hex:00ff"]


@pytest.mark.parametrize(("arguments", "shown"), [
    (["add", "b'x'", "[200]"], "line 10: too much"), (["add", "b'x'", "[1]", "--gas", "200"],
                                                     "out-of-gas, 200 gas"),
    (["nothing"], "no function 'nothing'"), (["_inner"], "refused"), (["add", "5", "[1]"],
                                                                     "to is bytes, not int")])
def test_a_failed_call_has_status_one(file: Path, arguments: list[str], shown: str) -> None:
    result = CliRunner().invoke(contract, ["run", str(file), *arguments])
    assert result.exit_code == 1
    assert shown in result.output


@pytest.mark.parametrize("arguments", [["add", "alice", "[1]"], ["add", "1.5", "[1]"],
                                       ["add", "hex:0", "[1]"], ["add", "(1, 2)", "[1]"]])
def test_bad_arguments_are_a_usage_error(file: Path, arguments: list[str]) -> None:
    result = CliRunner().invoke(contract, ["run", str(file), *arguments])
    assert isinstance(result.exception, UsageError)
    missing = CliRunner().invoke(contract, ["check", str(file) + ".none"])
    assert isinstance(missing.exception, UsageError)


def test_arguments_are_literals() -> None:
    assert [parse_argument(text) for text in ("5", "true", "'a'", "hex:00ff", "{'a': [1]}")] == [
        5, True, "a", b"\x00\xff", {"a": [1]}]
