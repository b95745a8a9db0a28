"""Two engines, one meaning, under every Python present; and Python's own."""

import sys
import warnings
from typing import Any

import pytest
from contract_differential import Difference, compare, digests, elsewhere, main, outcome
from contract_generator import Generator
from fixed_ledger import interpreters
from hypothesis import given, settings
from hypothesis import strategies as st

from bdn.chain.contracts import compile_contract
from bdn.chain.contracts.compiled import shortcuts
from bdn.chain.contracts.errors import ContractLimitError

THOROUGH = settings.default.max_examples > 100
PROGRAMS = 10_000 if THOROUGH else 100
ELSEWHERE = 2_000 if THOROUGH else 20
OUTGROWN = ((62_607, False), (17_620_539, True))
"""Seeds (and whether pure) whose first program has a line that is too long."""


def test_both_engines_agree_on_generated_programs() -> None:
    """Equal result, gas, events and state; less gas runs out, exactly enough changes nothing.
    10,000 programs with --hypothesis-profile=thorough."""
    compare_all(range(PROGRAMS))


@given(st.integers(0, 10**9))
def test_both_engines_agree_on_any_seed(seed: int) -> None:
    """As above, wherever Hypothesis looks."""
    compare(seed)


def compare_all(seeds: range) -> None:
    """`compare` each."""
    for seed in seeds:
        compare(seed)


def test_a_wrong_engine_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison that cannot fail is none: each of these small lies about the fast paths is
    found among a few hundred programs."""
    real = shortcuts.binary

    def forgets_a_word(table: Any, name: str, *operands: Any) -> Any:
        made = real(table, name, *operands)

        def run(m: Any, f: Any) -> Any:
            before = m.gas
            result = made(m, f)
            if m.gas == before - 1:  # the price of a result of one word
                m.gas = before
            return result

        return run

    def confuses(table: Any, name: str, *operands: Any) -> Any:
        return real(table, "|" if name == "^" else name, *operands)

    for lie in (forgets_a_word, confuses):
        monkeypatch.setattr(shortcuts, "binary", lie)
        with pytest.raises(Difference):
            compare_all(range(400))


def test_every_python_and_hash_seed_agrees() -> None:
    """Under any PYTHONHASHSEED and each supported Python."""
    expected = digests(0, ELSEWHERE)
    pythons = [sys.executable, *(python for _, python in interpreters())]
    for number, python in enumerate(pythons):
        assert outcome(elsewhere(python, 0, ELSEWHERE, str(1 + 999 * number))) == expected, python


def test_the_command_reports_agreement(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--programs", "5"])
    assert capsys.readouterr().out.count("equal: programs 0 to 4,") == 2


def test_the_command_names_the_first_difference(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An interpreter that gives another digest is named with the programs, and the status is 1."""
    printed = iter([["0 aa", "500 bb"], ["0 aa", "500 bc"]])
    monkeypatch.setattr("contract_differential.elsewhere", lambda *_: None)
    monkeypatch.setattr("contract_differential.outcome", lambda _child: next(printed))
    with pytest.raises(SystemExit) as ended:
        main(["--programs", "1000"])
    assert ended.value.code == 1
    assert "DIFFERENT from program 500 on: programs 0 to 999" in capsys.readouterr().out


@pytest.mark.parametrize(("seed", "pure"), OUTGROWN)
def test_generated_programs_stay_within_the_limits(seed: int, pure: bool) -> None:
    with pytest.raises(ContractLimitError):
        compile_contract(Generator(seed, pure).drawn())
    compile_contract(Generator(seed, pure).program())


# --- Python as a third opinion ------------------------------------------------------------------

NATIVE = {
    "public": lambda function: function,
    "to_bytes": lambda value, length: value.to_bytes(length, "big"),
    "from_bytes": lambda data: int.from_bytes(data, "big"),
    "from_hex": bytes.fromhex,
}


def lists(value: Any) -> Any:
    """Pairs are lists in the language, tuples in Python."""
    if isinstance(value, (list, tuple)):
        return [lists(item) for item in value]
    if isinstance(value, dict):
        return {key: lists(item) for key, item in value.items()}
    return value


@given(st.integers(0, 10**9))
def test_python_means_the_same(seed: int) -> None:
    """Where both are defined, a program gives what Python itself gives for it: the semantics are
    Python's, and Python knows nothing of our engines."""
    source = Generator(seed, pure=True).program()
    receipt = compile_contract(source).call("main", [seed % 1000, b"bytes"], gas=10**7)
    names: dict[str, Any] = dict(NATIVE)
    if receipt.ok:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # such as `5 is None`
            exec(compile(source, "generated", "exec"), names)
        expected = names["main"](seed % 1000, b"bytes")
        assert repr(receipt.result) == repr(lists(expected)), source


def test_most_generated_programs_succeed() -> None:
    """The tests above are only worth something if programs run to their end."""
    succeeded = sum(
        compile_contract(Generator(seed, pure=True).program()).call(
            "main", [5, b"bytes"], gas=10**6).ok for seed in range(40))
    assert succeeded > 24
