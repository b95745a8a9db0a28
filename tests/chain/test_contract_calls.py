"""Storage, events, calls between contracts, host functions."""

from collections.abc import Sequence
from typing import Any

import pytest

from bdn.chain import merkle
from bdn.chain.contracts import CallReceipt, Contract, MemoryState, compile_contract, decode_value
from bdn.chain.contracts.values import storage_key
from bdn.errors import IntegrityError, PeerError, UsageError
from bdn.identity import Identity
from bdn.randomness import SeededRandomness

GAS = 1_000_000
ENGINES = ("walker", "closures")

LEDGER = '''
notes: map[str, int, list]
total: int
tree: dict
first: any

@public
def fill(key: str):
    storage.notes[key, 1] = [1, {"b": 2, "a": [3]}]
    storage.total += 5
    emit("filled", size=2, by=context.sender, key=key)

@public
def read_twice(key: str) -> list:
    one = storage.notes[key, 1]
    other = storage.notes[key, 1]
    one.append(9)
    other[1]["a"].append(8)
    return [one, other, storage.notes[key, 1]]

@public
def fail_late(key: str):
    fill(key)
    del storage.notes[key, 1]
    require(storage.total < 0, "too late for " + key)

@public
def wrong(which: str):
    if which == "type":
        storage.total = "five"
    elif which == "bool":
        storage.total = True
    elif which == "key":
        storage.notes[1, 1] = []
    elif which == "boolean key":
        storage.notes["a", True] = []
    elif which == "absent":
        del storage.notes["absent", 1]
    elif which == "deep":
        x = []
        for i in range(20):
            x = [x]
        storage.first = x

@public
def insertion(swap: bool):
    d = {"b": 1}
    d["a"] = 2
    if swap:
        d = {"a": 2}
        d["b"] = 1
    storage.tree = d

@view
def order() -> list:
    return [storage.tree.keys(), storage.first, storage.total,
            ("x", 1) in storage.notes, ("x", 2) not in storage.notes,
            storage.notes.get("x", 1, None)]
'''


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Each test here runs on both engines."""
    return str(request.param)


def test_storage_reads_are_copies_without_aliasing(engine: str) -> None:
    """Storage maps go through the canonical encoding."""
    contract, state = compile_contract(LEDGER, "ledger"), MemoryState()
    assert contract.call("fill", ["x"], gas=GAS, state=state, engine=engine).ok
    result = contract.call("read_twice", ["x"], gas=GAS, state=state, engine=engine).result
    assert result == [[1, {"a": [3], "b": 2}, 9], [1, {"a": [3, 8], "b": 2}],
                      [1, {"a": [3], "b": 2}]]


def test_what_is_stored_lies_at_the_documented_key(engine: str) -> None:
    contract, state = compile_contract(LEDGER, "ledger"), MemoryState()
    contract.call("fill", ["x"], gas=GAS, state=state, engine=engine)
    data = state.get("ledger", storage_key("notes", "x", 1))
    assert decode_value(data or b"") == [1, {"a": [3], "b": 2}]
    assert decode_value(state.get("ledger", storage_key("total")) or b"") == 5


def test_the_order_of_insertion_does_not_reach_the_state(engine: str) -> None:
    """Fixed iteration order."""
    contract = compile_contract(LEDGER, "ledger")
    states = [MemoryState(), MemoryState()]
    for swap, state in zip((False, True), states, strict=True):
        contract.call("insertion", [swap], gas=GAS, state=state, engine=engine)
        order = contract.call("order", gas=GAS, state=state, engine=engine).result
        assert order == [["a", "b"], None, 0, False, True, None]
    assert states[0].entries == states[1].entries


def test_a_failure_reverts_everything_and_keeps_the_rest_of_the_gas(engine: str) -> None:
    """`require` reverts state and events and keeps the rest; revert is atomic."""
    contract, state = compile_contract(LEDGER, "ledger"), MemoryState()
    contract.call("fill", ["x"], gas=GAS, state=state, engine=engine)
    before = dict(state.entries)
    receipt = contract.call("fail_late", ["y"], gas=GAS, state=state, engine=engine)
    assert receipt.status == "reverted"
    assert receipt.error == "line 25: too late for y"
    assert receipt.events == ()
    assert 0 < receipt.gas_used < GAS
    assert state.entries == before


@pytest.mark.parametrize(("which", "message"), [
    ("type", "holds int, not str"), ("bool", "holds int, not bool"), ("key", "type str, not int"),
    ("boolean key", "type int, not bool"), ("absent", "no such key"), ("deep", "16 deep")])
def test_storage_checks_types(engine: str, which: str, message: str) -> None:
    receipt = compile_contract(LEDGER, "ledger").call("wrong", [which], gas=GAS, engine=engine)
    assert receipt.status == "failed"
    assert message in (receipt.error or "")


# --- other contracts ----------------------------------------------------------------------------

LEARNING = '''
rewards: map[bytes, int]
mining: contract

@public
def open_to_all() -> str:
    return context.caller + "|" + context.contract

@only("mining")
def reward(to: bytes, amounts: list) -> list:
    storage.rewards[to] = storage.rewards.get(to, 0) + amounts[0]
    emit("rewarded", to=to, caller=context.caller, sender=context.sender)
    amounts.append(99)
    return amounts

@only("mining")
def fails(to: bytes):
    storage.rewards[to] = 1
    require(False, "not today")

@only("mining")
def calls_back():
    mining.peek()

@view
def reward_of(to: bytes) -> int:
    return storage.rewards.get(to, 0)

@view
def who() -> str:
    return context.caller
'''

MINING = '''
learning: contract
nobody: contract
paid: int

@public
def pay(to: bytes) -> list:
    amounts = [7]
    result = learning.reward(to, amounts)
    storage.paid += amounts[0]
    emit("paid", caller=context.caller)
    return [amounts, result, learning.reward_of(to), context.contract, learning.who()]

@public
def pay_then_fail(to: bytes):
    learning.reward(to, [7])
    learning.fails(to)

@public
def call_public():
    learning.open_to_all()

@public
def call_unknown():
    learning.nothing()

@public
def call_wrong_arity():
    learning.reward(b"")

@public
def reenter():
    learning.calls_back()

@public
def call_absent():
    nobody.there()

@view
def peek() -> int:
    return storage.paid

@view
def sly():
    learning.reward(b"me", [1])
'''


@pytest.fixture
def both() -> dict[str, Contract]:
    """Two contracts that know each other."""
    return {"learning": compile_contract(LEARNING, "learning"),
            "mining": compile_contract(MINING, "mining")}


def test_a_contract_calls_where_the_callee_permits(both: dict[str, Contract], engine: str) -> None:
    """The callee sees its immediate caller and the transaction's sender; lists are copied."""
    state = MemoryState()
    receipt = both["mining"].call("pay", [b"d1"], gas=GAS, sender=b"edge", state=state,
                                  engine=engine, contracts=both)
    assert receipt.result == [[7], [7, 99], 7, "mining", "mining"]
    assert [(e.contract, e.name, e.fields) for e in receipt.events] == [
        ("learning", "rewarded", {"caller": "mining", "sender": b"edge", "to": b"d1"}),
        ("mining", "paid", {"caller": ""})]
    assert {contract for contract, _ in state.entries} == {"learning", "mining"}


@pytest.mark.parametrize(("function", "status", "message"), [
    ("pay_then_fail", "reverted", "learning, line 19: not today"),
    ("call_public", "refused", "the contract mining may call"),
    ("call_unknown", "refused", "no function 'nothing'"),
    ("call_wrong_arity", "refused", "takes 2 argument(s), not 1"),
    ("reenter", "refused", "the contract mining is running already"),
    ("call_absent", "refused", "nobody is not deployed"),
    ("sly", "refused", "a @view may call views only"),
])
def test_a_call_that_fails_reverts_both_contracts(
    both: dict[str, Contract], engine: str, function: str, status: str, message: str
) -> None:
    """Revert is atomic across contracts; no re-entrancy; no way around @only and @view."""
    state = MemoryState()
    args = [b"d1"] if function == "pay_then_fail" else []
    receipt = both["mining"].call(function, args, gas=GAS, state=state, engine=engine,
                                  contracts=both)
    assert receipt.status == status
    assert message in (receipt.error or "")
    assert state.entries == {}
    assert receipt.events == ()


@pytest.mark.parametrize(("function", "args"), [
    ("reward", [b"me", [5]]), ("_private", []), ("", []), ("open_to_all", [1]), ("__init__", [])])
def test_a_transaction_calls_public_functions_only(
    both: dict[str, Contract], engine: str, function: str, args: list
) -> None:
    """Who may call what. A refusal is a receipt, because such transactions arrive."""
    receipt = both["learning"].call(function, args, gas=GAS, engine=engine, contracts=both)
    assert receipt.status == "refused"
    assert 0 < receipt.gas_used <= both["learning"].table.call


def test_contracts_with_different_gas_tables_do_not_mix(both: dict[str, Contract]) -> None:
    from dataclasses import replace

    other = Contract(both["mining"].module, replace(both["mining"].table, version=99))
    with pytest.raises(UsageError):
        both["learning"].call("who", gas=GAS, contracts={"mining": other})


# --- host functions -----------------------------------------------------------------------------


def host_call(expression: str, *args: Any, engine: str, gas: int = GAS, **host: Any) -> CallReceipt:
    names = ", ".join("abcde"[: len(args)])
    lines = "".join(f"{name}: host\n" for name in host)
    contract = compile_contract(f"{lines}@public\ndef f({names}):\n    return {expression}\n")
    return contract.call("f", args, gas=gas, engine=engine, host=host)


class Doubler:
    """A host function that tells what it was asked, in order."""

    def __init__(self, price: int = 50) -> None:
        self.log: list[str] = []
        self._price = price

    def price(self, args: Sequence[Any], table: object) -> int:
        self.log.append("price")
        return self._price

    def __call__(self, args: Sequence[Any]) -> Any:
        self.log.append("call")
        if args[0] == "error":
            raise PeerError("the blob is not there")
        return args[0] if args[0] == 1.5 or isinstance(args[0], str) else args[0] * 2


def test_a_host_function_is_priced_charged_called(engine: str) -> None:
    """Charging before working."""
    double = Doubler()
    receipt = host_call("double(a)", 4, engine=engine, double=double)
    assert receipt.result == 8
    assert double.log == ["price", "call"]
    dear = Doubler(price=10**9)
    assert host_call("dear(a)", 4, engine=engine, dear=dear).status == "out-of-gas"
    assert dear.log == ["price"]


def test_a_host_functions_error_is_a_failed_receipt(engine: str) -> None:
    receipt = host_call("double(a)", "error", engine=engine, double=Doubler())
    assert receipt.error == "line 4: double refuses what it was given"
    assert receipt.detail == "the blob is not there"
    missing = compile_contract("there: host\n@public\ndef f():\n    return there()\n")
    assert "provides no host function there" in (
        missing.call("f", gas=GAS, engine=engine).error or "")


@pytest.mark.parametrize(("price", "argument"), [(-5, 4), (2.5, 4), (True, 4), (5, 1.5)])
def test_a_host_functions_own_mistake_is_no_receipt(
    engine: str, price: Any, argument: Any
) -> None:
    """A negative price would be a source of gas; a float is no value."""
    class Wrong(Doubler):
        def __call__(self, args: Sequence[Any]) -> Any:
            return argument

    with pytest.raises(UsageError):
        host_call("wrong(a)", 4, engine=engine, wrong=Wrong(price))


def test_a_broken_state_is_an_integrity_error(engine: str) -> None:
    """Stored bytes that are no value: stop and look, do not make a receipt of it."""
    contract, state = compile_contract(LEDGER, "ledger"), MemoryState()
    state.put("ledger", storage_key("total"), b"\x62\xff\xff")
    with pytest.raises(IntegrityError):
        contract.call("order", gas=GAS, state=state, engine=engine)
    with pytest.raises(UsageError):
        contract.call("order", gas=GAS, contracts={"other": compile_contract("", "another")})


def test_a_bound_host_function_replaces_a_built_in_one(engine: str) -> None:
    assert host_call("sha256(a)", 4, engine=engine, sha256=Doubler()).result == 8


def test_hash_signature_and_merkle_proof(engine: str) -> None:
    import hashlib

    assert host_call("sha256(a)", b"abc", engine=engine).result == hashlib.sha256(b"abc").digest()
    signer = Identity.generate(SeededRandomness(7))
    signature = signer.sign("bdn/test", b"text")
    call = "signature_verify(a, b, c, d)"
    assert host_call(call, signer.public_key, "bdn/test", b"text", signature,
                     engine=engine).result is True
    for args in ((signer.public_key, "bdn/test", b"texT", signature),
                 (signer.public_key, "bdn/other", b"text", signature),
                 (b"short", "bdn/test", b"text", signature)):
        assert host_call(call, *args, engine=engine).result is False
    leaves = [b"a", b"b", b"c", b"d", b"e"]
    root, proof = merkle.root(leaves), list(merkle.inclusion_proof(leaves, 2))
    leaf = hashlib.sha256(b"\x00c").digest()
    call = "merkle_verify(a, b, c, d, e)"
    assert host_call(call, leaf, 2, 5, proof, root, engine=engine).result is True
    assert host_call(call, leaf, 3, 5, proof, root, engine=engine).result is False
    assert host_call(call, leaf, 2, 5, proof[1:], root, engine=engine).result is False


def test_vectors_are_residues_of_fixed_width(engine: str) -> None:
    """∏ c_k^{s_k} mod N², against plain Python (Eq. (5) as a built-in)."""
    modulus = 2**61 - 1
    pack = lambda numbers: b"".join(n.to_bytes(8, "big") for n in numbers)  # noqa: E731 - local
    x, y = [3, 5, 2**60], [7, 11, 13]
    result = host_call("[vector_product(a, b, c), vector_power(a, 5, c), vector_inverse(a, c), "
                       "weighted_product([a, b], [2, 3], c)]", pack(x), pack(y), modulus,
                       engine=engine).result
    assert result == [
        pack([p * q % modulus for p, q in zip(x, y, strict=True)]),
        pack([pow(p, 5, modulus) for p in x]), pack([pow(p, -1, modulus) for p in x]),
        pack([p * p * q**3 % modulus for p, q in zip(x, y, strict=True)])]


@pytest.mark.parametrize(("expression", "message"), [
    ("vector_product(a, a[1:], 2 ** 61 - 1)", "multiple"), ("vector_power(a, -1, 257)", "negative"),
    ("vector_power(a, 1 << 5000, 257)", "4096 bits"), ("vector_inverse(to_bytes(6, 1), 9)",
                                                       "no inverse"),
    ("vector_product(a, a, 1)", "at least 2"), ("vector_product(b'\\xff', b'\\x01', 200)",
                                                "smaller"),
    ("vector_product(a, a + a, 2 ** 61 - 1)", "residues"),
    ("weighted_product([a], [1, 2], 7)", "one weight"), ("weighted_product([], [], 7)", "one"),
    ("weighted_product([a, a + a], [1, 1], 2 ** 61 - 1)", "lengths"), ("sha256('a')", "bytes"),
    ("sha256(a, a)", "1 argument"), ("merkle_verify(a, 0, 1, [], a)", "32 bytes"),
    ("merkle_verify(a, 0, 1, [1], a)", "steps"), ("weighted_product([1], [1], 7)", "vectors"),
    ("sha256(True)", "bytes, not bool")])
def test_host_functions_refuse_what_they_cannot_use(
    engine: str, expression: str, message: str
) -> None:
    receipt = host_call(expression, bytes(range(8)), engine=engine)
    assert receipt.status == "failed"
    assert message in (receipt.error or "")


def test_the_profile_adds_up_to_the_gas_used() -> None:
    """`bdn contract run --profile`: gas by line, each statement's own."""
    contract, profile = compile_contract(LEDGER, "ledger"), {}
    receipt = contract.call("fill", ["x"], gas=GAS, profile=profile)
    rest = contract.table.call + contract.table.written  # the call, and the one byte of its result
    assert sum(profile.values()) == receipt.gas_used - rest
    assert set(profile) == {("ledger", 9), ("ledger", 10), ("ledger", 11)}
    assert min(profile.values()) > 100
