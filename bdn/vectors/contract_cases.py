"""Cases on contract calls: every kind of node, every price, every failure code."""

from typing import Any

from bdn.chain.contracts.receipt import SENTENCES
from bdn.chain.contracts.values import encode_value
from bdn.identity import Identity
from bdn.vectors.basic_cases import bytes_of
from bdn.vectors.operations import OPERATIONS
from bdn.vectors.vector_set import CaseFile

GAS = 1 << 34

PROGRAM = '''
"""Everything that costs gas, a little of each."""

LIMIT = 3

names: map[str, int]
pairs: map[int, bytes, list]
total: int
log: any
other: contract

@public
def numbers(a: int, b: int) -> list:
    return [a + b, a - b, a * b, a // b, a % b, b ** 3, a << 5, a >> 2, a & b, a | b, a ^ b]

@public
def comparisons(a: int, b: int) -> list:
    c = -a
    return [a == b, a != b, c < b <= 9, a is None, a and b or c, a if a > b else b, ~a, not a]

@public
def flow(n: int) -> int:
    found = 0
    for i in range(n):
        if i == 2:
            continue
        elif i == 7:
            break
        found += _twice(i)
    while found < 50:
        found += LIMIT
    pass
    a, b = found, 1
    len("evaluated")
    return a + b

def _twice(x: int) -> int:
    return 2 * x

@public
def containers(n: int) -> list:
    items = [i for i in range(n) if i % 2 == 0]
    table = {i: [i] for i in items}
    both = {"a": 1, "b": 2}
    both["a"] += 5
    items[0] = 9
    del items[1]
    items.insert(0, 4)
    items.extend([1, 2])
    for key, value in table.items():
        both.update({str(key): len(value)})
    return [items[1:], table, both, sorted(items), sum(items), max(items), 4 in items,
            items.index(4), items.count(1), dict(both), enumerate(items), zip(items, items),
            items == items, both.pop("a"), reversed(items), any(items), list(both)]

@public
def texts(text: str, data: bytes) -> list:
    words = text.split(" ")
    return [text + "!", "-".join(words), text.find("zz"), text.replace("a", "b"), data.hex(),
            text.encode(), [c for c in text][:3], data[2:5], text < "m", "q" in text,
            from_hex("00ff"), to_bytes(7, 4), from_bytes(data[:8]), int("12345678901234567890"),
            str(12 ** 40), text.startswith("abc"), pow(3, 10 ** 20, 10 ** 30 + 1), data == data]

@public
def many(n: int) -> int:
    items = [i for i in range(n)]
    items.insert(0, 1)
    items.pop(0)
    return len(items)

@public
def search(text: str, part: str) -> int:
    return text.find(part)

@public
def storing(key: str, value: int) -> any:
    storage.names[key] = value
    storage.names[key] += 1
    storage.total += value
    storage.pairs[value, b"k"] = [value, "x"]
    storage.log = {"last": storage.pairs[value, b"k"], "sender": context.sender}
    if key in storage.names:
        del storage.names[key]
    emit("stored", key=key, total=storage.total)
    require(storage.total > 0, "never")
    return storage.log

@public
def calling(x: any) -> list:
    return [other.same(x), other.caller()]

@public
def hosts(m: int) -> list:
    one = to_bytes(5, 4) + to_bytes(9, 4)
    return [sha256(one), vector_product(one, one, m), vector_power(one, 77, m),
            vector_inverse(one, m), weighted_product([one, one], [2, 3], m),
            merkle_verify(sha256(one), 0, 1, [], sha256(one))]

@public
def wide(vector: bytes, m: int) -> bytes:
    return vector_product(vector, vector, m)

@public
def signed(key: bytes, message: bytes, signature: bytes) -> bool:
    return signature_verify(key, "bdn/transaction", message, signature)
'''

OTHER = '''
"""Another contract."""

main: contract
total: int

@view
def same(x: any) -> any:
    return x

@view
def caller() -> str:
    return context.caller

@only("main")
def change():
    storage.total = 1

@view
def back() -> int:
    return main.zero()
'''

BODIES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "all-of": ('y = merkle_verify(sha256(b""), 0, 1, [x], sha256(b""))', (1,)),
    "argument": ("y = sha256(x)", (1,)),
    "arguments": ("y = sha256(x, x)", (b"",)),
    "cycle": ("y = [x]\n    y.append(y)", (1,)),
    "depth": ("y = [x]\n    for i in range(17):\n        y = [y]\n    storage.log = y", (1,)),
    "dict-pop": ("y = {}\n    y.pop()", (1,)),
    "digits": ("y = int(x)", ("12a",)),
    "division": ("y = 1 // x", (0,)),
    "does-not-fit": ("y = to_bytes(x, 1)", (256,)),
    "domain": ('y = signature_verify(b"", "a" * x, b"", b"")', (65,)),
    "entries": ("y = {}\n    for i in range(x):\n        y[i] = 0", (4097,)),
    "expected": ('y = "a".startswith(x)', (1,)),
    "exponent": ('y = vector_power(b"a", x, 251)', (-1,)),
    "from-bytes": ("y = from_bytes(to_bytes(0, 1024) + x)", (b"a",)),
    "from-hex": ("y = from_hex(x)", ("A0",)),
    "hash-length": ("y = merkle_verify(x, 0, 1, [], x)", (b"short",)),
    "host": ("y = refuses(x)", (1,)),
    "index": ("y = [1][x]", (5,)),
    "index-kind": ("y = [1][x]", ("a",)),
    "insert": ("y = [1]\n    y.insert(x, 1)", (5,)),
    "key-kind": ("y = storage.names[x]", (1,)),
    "key-range": ("y = {}\n    y[x] = 1", (1 << 60,)),
    "lengths": ('y = weighted_product([b"a", b"aa"], [1, 1], x)', (251,)),
    "list-pop": ("y = [1]\n    y.pop(0, x)", (1,)),
    "message-kind": ("require(False, x)", (1,)),
    "modulus": ('y = vector_product(b"", b"", x)', (1,)),
    "negative": ("y = 2 ** x", (-1,)),
    "no-host": ("y = nothing(x)", (1,)),
    "no-inverse": ('y = vector_inverse(b"\\x02", x)', (4,)),
    "no-key": ("y = {}[x]", (1,)),
    "no-key-kind": ("y = {}\n    y[x] = 1", ([],)),
    "no-method": ("y = x.encode()", (1,)),
    "no-storage-key": ("y = storage.names[x]", ("none",)),
    "not-deployed": ("y = absent.f(x)", (1,)),
    "not-in-list": ("y = [1].index(x)", (2,)),
    "nothing": ("y = min(x)", ([],)),
    "part": ('y = "a".replace(x, "b")', ("",)),
    "pow": ("y = pow(2, x, 5)", (-1,)),
    "range": ("for i in range(x):\n        pass", (1 << 63,)),
    "re-entrancy": ("y = other.back()", (1,)),
    "require": ("require(False, x)", ("no: \U0001fae8\n",)),
    "residue": ('y = vector_product(b"\\x09", b"\\x01", x)', (7,)),
    "separator": ('y = "a".split(x)', ("",)),
    "slice": ("y = [1][x:]", ("a",)),
    "sorted": ("y = sorted([1, x])", ("a",)),
    "step": ("for i in range(0, 1, x):\n        pass", (0,)),
    "storage-kind": ("storage.total = x", ("a",)),
    "takes": ('y = "".join(x)', (1,)),
    "too-long-to-keep": ("storage.log = x * (1 << 20)", (b"a",)),
    "too-many": ("y = x * ((1 << 20) + 1)", (b"a",)),
    "too-many-bits": ("y = 2 ** x", (8192,)),
    "too-many-digits": ("y = str(10 ** x)", (601,)),
    "two-lengths": ("y = vector_product(b'\\x01\\x01', b'\\x01', x)", (7,)),
    "undefined": ("y = 1 + x", ("a",)),
    "unpack": ("y, z = x", ([1],)),
    "utf-8": ("y = x.decode()", (b"\xff",)),
    "vector-length": ("y = vector_product(b'a', b'a', x)", (300,)),
    "weights": ("y = weighted_product([], [], x)", (7,)),
    "width": ("y = to_bytes(0, x)", (1025,)),
}
"""By failure code: the body of a function of x that fails with it, and its argument."""

OF_THE_LEDGER = frozenset(("no-contract", "no-value"))
"""Codes that no call of a contract gives; the ledgers hold them."""

DEEP = 24
"""Private functions that call one another, in two contracts: together too deep for the stack."""


def _lines(source: str) -> list[str]:
    return source.strip("\n").split("\n")


def _failing(code: str, body: str) -> str:
    return f"@public\ndef {_name(code)}(x: any):\n    {body}\n"


def _name(code: str) -> str:
    return "f_" + code.replace("-", "_")


def _deep(name: str, last: str) -> str:
    calls = "".join(f"def _{name}{i}(x: any) -> any:\n    return _{name}{i + 1}(x)\n\n"
                    for i in range(DEEP))
    return f"{calls}def _{name}{DEEP}(x: any) -> any:\n    return {last}\n"


FAILING = f'''
"""One function for each failure code."""

names: map[str, int]
total: int
log: any
other: contract
absent: contract
nothing: host
refuses: host

@view
def zero() -> int:
    return 0

@public
def f_kind(x: int):
    pass

@public
def f_arity(x: int):
    pass

@view
def f_no_view(x: any) -> any:
    return other.change()

@public
def f_stack(x: any) -> any:
    return _down0(x)

{_deep("down", "other.deeper(x)")}
''' + "\n".join(_failing(code, body) for code, (body, _) in BODIES.items())

DEEPER = OTHER + f'''
@view
def deeper(x: any) -> any:
    return _low0(x)

{_deep("low", "x")}
'''


def contracts() -> CaseFile:
    """Return calls that cost something of everything, and one that fails for every code."""
    made = CaseFile("contracts", "Sections 8 to 10 and docs/contract-language.md: calls with their "
                    "gas, results, events and states; each with one gas less than it needs; and a "
                    "call for every failure code. A host function refuses(x) exists, costs nothing "
                    "and always refuses.", OPERATIONS)
    made.constants = {"program": _lines(PROGRAM), "other": _lines(OTHER),
                      "failing": _lines(FAILING), "deeper": _lines(DEEPER)}
    big, text = 3 << 700, "abc q zz ü " * 40
    signer = Identity.from_secret(bytes_of("alice"))
    calls: list[tuple[str, list[Any]]] = [
        ("numbers", [1000, 7]), ("numbers", [big, 1 << 100]), ("comparisons", [3, 4]),
        ("comparisons", [big, big]), ("flow", [9]), ("containers", [12]),
        ("texts", [text, bytes(range(200))]), ("many", [2000]), ("search", ["ab" * 600, "ba" * 60]),
        ("search", ["x" * 40, "y"]), ("storing", ["k" * 1000, 5]), ("calling", [[1, {"a": b"b"}]]),
        ("calling", ["é" * 50]), ("hosts", [(1 << 31) - 1]),
        ("wide", [b"\1" * 384, (1 << 3071) + 1]), ("signed", [
            signer.public_key, b"m" * 200, signer.sign("bdn/transaction", b"m" * 200)]),
        ("signed", [signer.public_key, b"other", signer.sign("bdn/transaction", b"m")])]
    given: dict[str, Any] = {"source": "@program", "others": {"other": "@other"}}
    for number, (function, arguments) in enumerate(calls):
        call = {**given, "function": function, "arguments": encode_value(arguments).hex()}
        receipt = made.add(f"{function} {number}", "contract_call", gas=GAS, **call)
        assert receipt["ok"], (function, receipt)
        made.add(f"{function} {number}: one gas too little", "contract_call",
                 gas=int(receipt["gas_used"]) - 1, **call)
    given = {"source": "@failing", "others": {"other": "@deeper"}}
    special: dict[str, tuple[str, list[Any], int]] = {
        "kind": (_name("kind"), ["a"], GAS), "arity": (_name("arity"), [1, 2], GAS),
        "no-view": (_name("no-view"), [1], GAS), "stack": (_name("stack"), [1], GAS),
        "no-function": ("f_\U0001fae8" + "x" * 80, [], GAS), "out-of-gas": ("zero", [], 149)}
    for code in SENTENCES:
        if code in OF_THE_LEDGER:
            continue
        function, arguments, gas = special.get(code) or (_name(code), list(BODIES[code][1]), GAS)
        receipt = made.add(code, "contract_call", function=function,
                           arguments=encode_value(arguments).hex(), gas=gas, **given)
        assert receipt["reason"] is not None, code
        assert receipt["reason"][0] == code, (code, receipt["reason"])
    for size in (0, 1, 5_000_000):
        for bounded in (False, True):
            made.add(f"update of {size} bytes{', bounded' * bounded}", "update_price", size=size,
                     bounded=bounded)
    return made
