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
    assert str(result.exception) == f"{file}:22:12: x may not have a value here"


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
    (["_inner"], "refused"), (["add", "5", "[1]"],
                                                                     "to is bytes, not int")])
def test_a_failed_call_has_status_one(file: Path, arguments: list[str], shown: str) -> None:
    result = CliRunner().invoke(contract, ["run", str(file), *arguments])
    assert result.exit_code == 1
    assert shown in result.output


@pytest.mark.parametrize("arguments", [["add", "alice", "[1]"], ["add", "1.5", "[1]"],
                                       ["add", "hex:0", "[1]"], ["add", "(1, 2)", "[1]"],
                                       ["add", "{[]: 1}", "[1]"], ["add", "{1}", "[1]"],
                                       ["add", "9" * 9000, "[1]"], ["add", "[" * 9000, "[1]"],
                                       ["add", "'\udcff'", "[1]"], ["add", "\0", "[1]"],
                                       ["ad", "b'x'", "[1]"], ["nothing", "b'x'"]])
def test_bad_arguments_are_a_usage_error(file: Path, arguments: list[str]) -> None:
    result = CliRunner().invoke(contract, ["run", str(file), *arguments])
    assert isinstance(result.exception, UsageError)
    assert len(str(result.exception)) < 500
    missing = CliRunner().invoke(contract, ["check", str(file) + ".none"])
    assert isinstance(missing.exception, UsageError)


def test_arguments_are_literals() -> None:
    assert [parse_argument(text) for text in ("5", "true", "'a'", "hex:00ff", "{'a': [1]}")] == [
        5, True, "a", b"\x00\xff", {"a": [1]}]


def test_a_wrong_function_gets_the_nearest_right_one(file: Path) -> None:
    result = CliRunner().invoke(contract, ["run", str(file), "ad", "b'x'"])
    assert str(result.exception) == f"{file} has no function 'ad'; did you mean add?"


KEEPS = """
any: any
kept: map[bytes, dict]
@public
def main(x: any) -> any:
    storage.kept[context.sender] = {b"bytes": 1, 5: [x], "text": b"x"}
    storage.any = x  # [/] [k] closes
    emit("told", x=x, k={b"k": x})
    return {b"r": x}
"""


@pytest.mark.parametrize("argument", ["{b'k': 1}", "b'\\xff'", "'[/]'", "'\\x1b[31m'", "-5", "None",
                                      "[{b'k': []}]", "1 << 8", "True"])
@pytest.mark.parametrize("options", [[], ["--json"], ["--profile"], ["--json", "--profile"]])
def test_every_value_is_shown(tmp_path: Path, argument: str, options: list[str]) -> None:
    """Bytes as keys, brackets that Rich would read, and what a terminal would obey."""
    path = tmp_path / "keeps.contract"
    path.write_text(KEEPS)
    result = CliRunner().invoke(contract, ["run", str(path), "main", *options, "--sender",
                                           b"caf\xe9".decode(errors="surrogateescape"), "--",
                                           argument])
    if argument == "1 << 8":
        assert isinstance(result.exception, UsageError)
        return
    assert result.exit_code == 0, result.output
    assert "\x1b[31m" not in result.output
    if "--json" in options:
        answer = json.loads(result.output)
        assert answer["ok"] is True
        assert answer["state"][1]["keys"] == ["hex:636166e9"]
    elif options:
        assert "# [/] [k] closes" in result.output


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"A = 1\r\n", b"\xef\xbb\xbfA = 1\n",
                                     b"A = '" + b"x" * 10**6, b"\0" * 10**6,
                                     "A = 1  # \u202e\n".encode(), "A = '\u2066'\n".encode(),
                                     "# \u200b\n".encode(), b"A = 1 +\n"])
@pytest.mark.parametrize("command", [["check"], ["run"]])
def test_every_refusal_names_the_file(tmp_path: Path, content: bytes, command: list[str]) -> None:
    path = tmp_path / "odd.contract"
    path.write_bytes(content)
    arguments = [*command, str(path), *(["main"] if command == ["run"] else [])]
    result = CliRunner().invoke(contract, arguments)
    if command == ["check"] and not content:
        assert result.exit_code == 0
        return
    assert isinstance(result.exception, UsageError)
    assert str(path) in str(result.exception)
    assert len(str(result.exception)) < 500


@pytest.mark.parametrize("path", ["/dev/zero", "/", "/dev/null/none"])
def test_what_is_no_file_is_refused(path: str) -> None:
    """A device that never ends is read no further than a source may reach."""
    result = CliRunner().invoke(contract, ["check", path])
    assert isinstance(result.exception, UsageError)
    assert path in str(result.exception)
