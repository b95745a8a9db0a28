"""docs/format.md and docs/protocol.md say what the code does: domains, fields, prices, codes."""

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import bdn
from bdn.chain.contracts.gas import TABLES
from bdn.chain.contracts.receipt import SENTENCES
from bdn.identity import Identity, verify_ed25519
from bdn.nodes import messages as device_messages
from bdn.nodes.settings import CIPHERS
from bdn.pbft.messages import TYPE_NAMES
from bdn.pbft.signing import DOMAINS
from bdn.seal import sign_commit

ROOT = Path(bdn.__file__).parent
DOCS = ROOT.parent / "docs"
FORMAT = (DOCS / "format.md").read_text("utf-8")
PROTOCOL = (DOCS / "protocol.md").read_text("utf-8")

COMPUTED = {"bdn/pbft/{}": set(DOMAINS.values()) - {"bdn/commit"},
            "bdn/{}/seal": {f"bdn/{cipher}/seal" for cipher in CIPHERS}}
"""Domains that the code puts together, and what comes of it."""


def domains_in(tree: ast.Module) -> Iterator[str]:
    """Texts and byte strings of a module that begin like a domain; of f-strings a template."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}"
                          for part in node.values)
            for part in node.values:
                if isinstance(part, ast.Constant):
                    part.value = ""  # not a text of its own
        elif isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            value = node.value
            yield value.decode("latin-1") if isinstance(value, bytes) else value


def code_domains() -> set[str]:
    """Every domain of the package, and of the contracts it ships."""
    found: set[str] = set()
    for path in ROOT.rglob("*.py"):
        texts = domains_in(ast.parse(path.read_text("utf-8")))
        found |= {text for text in texts if re.fullmatch(r"bdn/[A-Za-z0-9/{}-]+", text)}
    for path in ROOT.rglob("*.contract"):
        found |= set(re.findall(r'b"(bdn/[a-z/-]+)"', path.read_text("utf-8")))
    return {domain for each in found for domain in COMPUTED.get(each, {each})}


def listed_domains() -> set[str]:
    """The first column of the page's table of domains."""
    section = FORMAT.split("### Domain strings")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `(bdn/[^`]+)`", section, re.MULTILINE))


def test_every_domain_string_is_listed_and_no_other() -> None:
    assert listed_domains() == code_domains()


def test_the_walk_over_the_code_sees_a_new_domain() -> None:
    tree = ast.parse('digest("bdn/new", x); sign(f"bdn/{name}/x"); b"bdn/raw"')
    assert set(domains_in(tree)) >= {"bdn/new", "bdn/{}/x", "bdn/raw"}


def cells(text: str) -> dict[str, str]:
    """Name → number, from all tables of the section on gas with pairs of cells."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        row = re.split(r"(?<!\\)\|", line)[1:-1]
        if len(row) % 2 == 0:
            found.update({name.strip("` ").replace("\\|", "|"): value.strip().replace("\\|", "|")
                          for name, value in zip(row[::2], row[1::2], strict=True)})
    return found


def test_all_prices_stand_in_the_page() -> None:
    """Names of nodes and prices, with the numbers of the newest table."""
    table = TABLES[max(TABLES)]
    gas = cells(FORMAT.split("## 10. Gas")[1].split("Static additions")[0])
    prices = {k if isinstance(k, str) else k.__name__: v for k, v in table.nodes.items()}
    prices |= {field.name: getattr(table, field.name) for field in dataclasses.fields(table)
               if field.name not in ("version", "nodes")}
    assert {name: gas.get(name) for name in prices} == {
        name: f"{price:,}" for name, price in prices.items()}


def test_all_failure_codes_stand_in_the_page() -> None:
    codes = cells(FORMAT.split("## 9. Receipts")[1].split("\n## ")[0])
    assert {code: codes.get(code) for code in SENTENCES} == SENTENCES


def test_every_message_is_in_the_protocol_with_all_its_fields() -> None:
    rows = {}
    tables = PROTOCOL.split("## 2.")[1].split("| question")[0] + PROTOCOL.split("## 5.")[1]
    for line in tables.splitlines():
        row = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(row) == 3:
            rows[row[0]], rows[row[1]] = row[1], row[2]
    for cls in (*device_messages.MESSAGES, *TYPE_NAMES):
        told = rows[cls.__name__]
        if told.startswith("as "):
            continue
        for field in dataclasses.fields(cls):
            assert re.search(rf"\b{field.name}\b", told), f"{cls.__name__}.{field.name}"


def test_the_commit_statement_has_its_domain_once() -> None:
    """What Ed25519 signs, byte for byte (section 7)."""
    identity = Identity.from_secret(bytes(range(32)))
    signature = sign_commit(identity, b"i" * 32, 3, 9, b"d" * 32)
    statement = b"i" * 32 + (3).to_bytes(8, "big") + (9).to_bytes(8, "big") + b"d" * 32
    signed = ((10).to_bytes(8, "big") + b"bdn/commit" + len(statement).to_bytes(8, "big")
              + statement)
    verify_ed25519(identity.public_key, signed, signature)
