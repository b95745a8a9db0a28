"""The known answers in tests/vectors: bdn gives them, and they notice changes of the format."""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bdn import encoding
from bdn.chain import blocks, transactions
from bdn.chain.contracts import gas
from bdn.chain.contracts.receipt import SENTENCES
from bdn.cli import invoke
from bdn.cli.vectors import vectors as command
from bdn.nodes import participation
from bdn.paillier import batch, keys
from bdn.paillier.norm_proof import commitments, protocol, statements
from bdn.pbft import messages
from bdn.vectors import MAKERS, check_vectors
from bdn.vectors.operations import OPERATIONS
from bdn.vectors.vector_set import FORMAT, MOST_BYTES, REFUSED, CaseFile, read_file

FOLDER = Path(__file__).parent / "vectors"
FILES = sorted(FOLDER.glob("*.json"))

LISTED = set(re.findall(r"^\| `(bdn/[^`]+)` \|", (
    FOLDER.parents[1] / "docs" / "format.md").read_text("utf-8"), re.MULTILINE))
"""The domains of docs/format.md, which tests/test_docs_format.py compares with the code."""

UNCOVERED = {
    "bdn/append-log", "bdn/append-log/batch", "bdn/choices", "bdn/digits", "bdn/hello",
    "bdn/norm-proof/held", "bdn/norm-proof/opened", "bdn/norm-proof/together",
    "bdn/paillier/biprimality", "bdn/paillier/encryption-only", "bdn/paillier/joint/attempt",
    "bdn/paillier/joint/coins", "bdn/paillier/joint/private", "bdn/paillier/joint/public",
    "bdn/paillier/joint/seed", "bdn/paillier/search", "bdn/paillier/stored-share",
    "bdn/paillier/trial", "bdn/pbft/null", "bdn/seeded", "bdn/shared/open",
    "bdn/shared/verify-update", "bdn/shared/weighted-sum", "bdn/simulator/fate", "bdn/substream",
    "bdn/vector-cipher", "bdn/wrapped", "bdn/key-stream", "bdn/participation",
}
"""Domains of no case: local ones, those of making a joint key, of the handshake, and of a share at
rest; `bdn/pbft/null` and `bdn/participation` are constants of a module and tested by themselves."""


def forget() -> None:
    """Let nothing that was computed before answer for what is computed now."""
    for cached in (keys.derive_h, commitments.commitment_key, statements._transposed_masks,
                   encoding._opening, encoding._begun):
        cached.cache_clear()
    from bdn.nodes.ciphers import checked_key, make_cipher
    from bdn.paillier.numbers import fixed_base
    from bdn.paillier.vector import ring

    for cached in (checked_key, make_cipher, fixed_base, ring.public_cache):
        cached.cache_clear()
    protocol.forget_relations()


@pytest.fixture
def loaded() -> list[CaseFile]:
    """The files in the repository."""
    return [read_file(path, OPERATIONS) for path in FILES]


# --- the set ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_bdn_gives_the_answers(path: Path) -> None:
    """`bdn vectors --check` finds nothing in any file."""
    assert list(read_file(path, OPERATIONS).failures()) == []


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_the_command_writes_these_files(make: Callable[[], CaseFile]) -> None:
    """Red here after a change of the format: run ``bdn vectors tests/vectors`` (CONTRIBUTING)."""
    made = make()
    assert (FOLDER / f"{made.name}.json").read_text("utf-8") == made.to_text()


def test_sizes_and_negative_cases() -> None:
    """Each file below 200 KB, all below 3 MB; about half of the cases are refusals or failures."""
    assert len(FILES) == len(MAKERS)
    assert max(path.stat().st_size for path in FILES) < MOST_BYTES
    assert sum(path.stat().st_size for path in FILES) < 3_000_000
    cases = [case for path in FILES for case in json.loads(path.read_text())["cases"]]
    negative = [case for case in cases if case["output"] == REFUSED or (
        isinstance(case["output"], dict) and case["output"].get("ok") is False)]
    assert 0.4 * len(cases) < len(negative) < 0.7 * len(cases)


def test_every_failure_code_has_a_case(loaded: list[CaseFile]) -> None:
    text = {case["output"]["reason"][0] for made in loaded for case in made.cases
            if case["operation"] == "contract_call" and case["output"]["reason"]}
    ledgers = (FOLDER / "ledger_packed.json").read_text()
    told = {code for code in SENTENCES if code.encode().hex() in ledgers}
    assert text | (told & {"no-contract", "no-value"}) == set(SENTENCES)


def test_the_command_checks_and_names_what_differs(tmp_path: Path) -> None:
    """One line per file; exit status 1 and the case's name for a wrong answer, 2 for no vectors."""
    data = json.loads((FOLDER / "digests.json").read_text())
    (tmp_path / "digests.json").write_text(json.dumps(data))
    assert invoke(["vectors", "--check", str(tmp_path)]) == 0
    data["cases"][3]["output"] = "00"
    (tmp_path / "digests.json").write_text(json.dumps(data))
    ((found, failed),) = check_vectors(tmp_path)
    assert (found.name, failed) == ("digests", [data["cases"][3]["name"]])
    assert invoke(["vectors", "--check", str(tmp_path)]) == 1
    result = CliRunner().invoke(command, ["--check", str(tmp_path)], standalone_mode=False)
    assert data["cases"][3]["name"] in result.output


def one_case(operation: str) -> str:
    """A file with a case without input."""
    case = {"name": "", "operation": operation, "input": {}, "output": 1}
    return json.dumps({"format": FORMAT, "about": "", "constants": {}, "cases": [case]})


@pytest.mark.parametrize("text", [
    "", "[]", "{}", '{"format": "x"}', one_case("no"), one_case("digest"), "[" * 9999])
def test_other_files_are_refused_in_one_line(tmp_path: Path, text: str) -> None:
    assert invoke(["vectors", "--check", str(tmp_path)]) == 2
    (tmp_path / "a.json").write_text(text)
    assert invoke(["vectors", "--check", str(tmp_path)]) == 2


# --- what they notice ---------------------------------------------------------------------------


def cases_by_domain(loaded: list[CaseFile]) -> dict[str, list[tuple[CaseFile, dict[str, Any]]]]:
    """Domain → the cases that hash or sign under it."""
    found: dict[str, list[tuple[CaseFile, dict[str, Any]]]] = {}
    seen: set[str] = set()
    opening, begun = encoding._opening, encoding._begun

    def note(inner: Any) -> Any:
        def noted(domain: str) -> Any:
            seen.add(domain)
            return inner(domain)
        return noted

    try:
        encoding._opening, encoding._begun = note(opening), note(begun)  # type: ignore[assignment]
        for made in loaded:
            for case in made.cases:
                if case["output"] == REFUSED:
                    continue
                seen.clear()
                _forget_noted(opening, begun)
                made.answer(case["operation"], case["input"])
                for domain in seen:
                    found.setdefault(domain, []).append((made, case))
    finally:
        encoding._opening, encoding._begun = opening, begun
    return found


def _forget_noted(opening: Any, begun: Any) -> None:
    noted = encoding._opening, encoding._begun
    encoding._opening, encoding._begun = opening, begun
    forget()
    encoding._opening, encoding._begun = noted


def test_changing_any_domain_string_turns_a_case_red(
    loaded: list[CaseFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each domain of docs/format.md, but for `UNCOVERED`, is changed by one letter."""
    users = cases_by_domain(loaded)
    unseen = []
    opening, begun = encoding._opening, encoding._begun
    for domain in sorted(LISTED - UNCOVERED):
        def other(inner: Any, wanted: str = domain) -> Any:
            return lambda name: inner(name + "x" if name == wanted else name)

        with monkeypatch.context() as patch:
            forget()
            patch.setattr(encoding, "_opening", other(opening))
            patch.setattr(encoding, "_begun", other(begun))
            red = any(made.answer(case["operation"], case["input"]) != case["output"]
                      for made, case in users.get(domain, ())[:40])
        if not red:
            unseen.append(domain)
    forget()
    assert unseen == []


def test_module_constants_that_are_domains_turn_a_case_red(
    loaded: list[CaseFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(participation, "DOMAIN", b"bdn/other")
    assert any(made.name == "identities" and list(made.failures()) for made in loaded)
    assert messages.NULL_DIGEST.hex() in (FOLDER / "pbft.json").read_text()


def prices() -> Iterator[tuple[str, gas.GasTable]]:
    """Tables in each of which one price is another."""
    table = gas.TABLES[gas.LATEST]
    for field in dataclasses.fields(table):
        if field.name == "nodes":
            for node, price in table.nodes.items():
                name = node if isinstance(node, str) else node.__name__
                yield name, dataclasses.replace(table, nodes={**table.nodes, node: price + 1})
        elif field.name != "version":
            yield field.name, dataclasses.replace(
                table, **{field.name: getattr(table, field.name) + 1})


@pytest.mark.parametrize(("name", "table"), list(prices()), ids=lambda item: str(item)[:20])
def test_changing_any_price_turns_a_case_red(
    name: str, table: gas.GasTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gas, "TABLES", {gas.LATEST: table})
    made = read_file(FOLDER / "contracts.json", OPERATIONS)
    assert next(made.failures(), None) is not None, name


def test_changing_the_order_of_fields_turns_a_case_red(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays have an order of their own: envelopes, bodies and blocks."""
    for module, name, file in ((transactions, "_BODY", "payloads"),
                               (transactions, "_ENVELOPE", "payloads"),
                               (blocks, "_BLOCK", "ledger_packed")):
        arms = list(getattr(module, name).__args__)
        swapped = [*arms[:2], arms[3], arms[2], *arms[4:]] if len(arms) > 3 else arms[::-1]
        with monkeypatch.context() as patch:
            patch.setattr(module, name, _Swapped(getattr(module, name), tuple[*swapped],
                                                 len(arms) > 3))
            encode_as, decode_as = module.encode_as, module.decode_as
            patch.setattr(module, "encode_as", lambda kind, value, inner=encode_as: (
                kind.encoded(inner, value) if isinstance(kind, _Swapped) else inner(kind, value)))
            patch.setattr(module, "decode_as", lambda kind, data, inner=decode_as: (
                kind.decoded(inner, data) if isinstance(kind, _Swapped) else inner(kind, data)))
            made = read_file(FOLDER / f"{file}.json", OPERATIONS)
            assert next(made.failures(), None) is not None, name


class _Swapped:
    """An array's annotation with two fields exchanged on the wire."""

    def __init__(self, kind: Any, swapped: Any, middle: bool) -> None:
        self.kind, self.swapped, self.middle = kind, swapped, middle

    def order(self, value: Any) -> tuple[Any, ...]:
        values = list(value)
        return (*values[:2], values[3], values[2], *values[4:]) if self.middle else (
            *values[::-1],)

    def encoded(self, inner: Any, value: Any) -> bytes:
        data: bytes = inner(self.swapped, self.order(value))
        return data

    def decoded(self, inner: Any, data: bytes) -> tuple[Any, ...]:
        return self.order(inner(self.swapped, data))


def test_the_proof_binds_the_order_of_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exchanging two parts of a digest is seen as a domain's change is."""
    original = batch.digest
    monkeypatch.setattr(batch, "digest", lambda domain, *parts: original(domain, *parts[::-1]))
    assert next(read_file(FOLDER / "paillier.json", OPERATIONS).failures(), None) is not None
