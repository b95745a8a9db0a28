"""The language: what its programs mean, and what it refuses to read.

Every case runs on both engines. The expected values were written down from the reference,
docs/contract-language.md; that Python agrees where it should is in test_contract_differential.
"""

from pathlib import Path
from typing import Any

import pytest

from bdn.chain.contracts import (
    CallReceipt,
    ContractError,
    ContractLimitError,
    ContractNameError,
    ContractSyntaxError,
    MemoryState,
    compile_contract,
)
from bdn.errors import UsageError

GAS = 1_000_000


def run(body: str, *args: Any, gas: int = GAS, top: str = "") -> CallReceipt:
    """The receipt of a function with this body and the parameters a, b, …, on both engines."""
    parameters = ", ".join("abcd"[: len(args)])
    lines = "\n".join("    " + line for line in body.split("\n"))
    contract = compile_contract(f"{top}\n@public\ndef main({parameters}):\n{lines}\n")
    receipts = [contract.call("main", args, gas=gas, engine=engine, state=MemoryState())
                for engine in ("walker", "closures")]
    assert receipts[0] == receipts[1]
    return receipts[0]


def value(expression: str, *args: Any, top: str = "") -> Any:
    """What an expression gives."""
    receipt = run(f"return {expression}", *args, top=top)
    assert receipt.ok, receipt
    return receipt.result


@pytest.mark.parametrize(("expression", "expected"), [
    ("7 // -2", -4), ("-7 % 3", 2), ("2 ** 10", 1024), ("(-2) ** 3", -8), ("0 ** 0", 1),
    ("(-1) ** 10 ** 9", 1), ("1 << 70", 1 << 70), ("-5 >> 1", -3), ("1 >> 10 ** 9", 0),
    ("6 & 3 | 8 ^ 1", 11), ("~5", -6), ("not 0", True), ("0xff + 0b11", 258), ("1_000", 1000),
    ("'a' + 'b' * 3", "abbb"), ("3 * b'ab'", b"ababab"), ("'ab' * -1", ""), ("[1] + [2] * 2",
                                                                              [1, 2, 2]),
    ("1 < 2 < 3", True), ("1 < 3 < 2", False), ("3 > 2 >= 2 == 2", True), ("'a' < 'b'", True),
    ("b'a' <= b'a'", True), ("1 == True", False), ("0 == False", False), ("[1] == [True]", False),
    ("{'a': [1]} == {'a': [1]}", True), ("None == None", True), ("1 != '1'", True),
    ("2 in [1, 2]", True), ("'b' in 'abc'", True), ("b'b' not in b'abc'", False),
    ("1 in {1: 2}", True), ("True in [1]", False), ("None is None", True), ("0 is not None", True),
    ("1 and 0 or 5", 5), ("[] or 'x'", "x"), ("1 if [] else 2", 2), ("'abc'[1]", "b"),
    ("b'abc'[-1]", 99), ("[1, 2, 3][1:]", [2, 3]), ("'abcdef'[-3:-1]", "de"), ("'abc'[5:]", ""),
    ("'abc'[-99:2]", "ab"), ("b'abc'[2:1]", b""), ("[1, 2][:10 ** 30]", [1, 2]),
    ("{'a': 1}['a']", 1), ("[x * x for x in range(4) if x != 2]", [0, 1, 9]),
    ("{k: v for k, v in [['a', 1], ['b', 2]]}", {"a": 1, "b": 2}),
    ("[[x + y for y in [1, 2]] for x in [3]]", [[4, 5]]),
    ("len('é') + len([1]) + len({1: 1})", 3), ("min(3, 1, 2)", 1), ("max([b'a', b'b'])", b"b"),
    ("sum([1, 2, 3])", 6), ("sum([])", 0), ("sorted([3, 1, 2])", [1, 2, 3]),
    ("sorted({'b': 1, 'a': 2}, reverse=True)", ["b", "a"]), ("abs(-4)", 4), ("pow(2, 100, 7)", 2),
    ("pow(3, 4)", 81), ("int('-12')", -12), ("int(True)", 1), ("str(-5)", "-5"), ("str(True)",
                                                                                  "True"),
    ("bool([])", False), ("list('ab')", ["a", "b"]), ("list(b'ab')", [97, 98]),
    ("list({'a': 1})", ["a"]), ("enumerate('ab')", [[0, "a"], [1, "b"]]),
    ("zip([1, 2], 'ab', b'cd')", [[1, "a", 99], [2, "b", 100]]), ("reversed([1, 2])", [2, 1]),
    ("any([0, 1])", True), ("all([0, 1])", False), ("to_bytes(258, 2)", b"\x01\x02"),
    ("from_bytes(b'')", 0), ("from_bytes(to_bytes(2 ** 200, 26))", 2**200),
    ("from_hex('00ff')", b"\x00\xff"), ("b'\\x00\\xff'.hex()", "00ff"), ("'é'.encode()",
                                                                        "é".encode()),
    ("b'\\xc3\\xa9'.decode()", "é"), ("'a,b'.split(',')", ["a", "b"]),
    ("'-'.join(['a', 'b'])", "a-b"), ("'abc'.startswith('ab')", True), ("b'abc'.find(b'c')", 2),
    ("'aXbX'.replace('X', '--')", "a--b--"), ("[3, 1].index(1)", 1), ("[1, 1].count(1)", 2),
    ("{'a': 1}.get('b')", None), ("{'a': 1}.get('b', 5)", 5), ("{1: 2}.items()", [[1, 2]]),
    ("{1: 2}.keys() + {1: 2}.values()", [1, 2]), ("- - 5", 5), ("'\\n\\t\\x41\\\\'", "\n\tA\\"),
])
def test_expressions(expression: str, expected: Any) -> None:
    """Expressions mean what the reference says; types included."""
    result = value(expression)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(("expression", "message"), [
    ("1 // 0", "division by zero"), ("1 % 0", "division by zero"), ("True + 1", "bool and int"),
    ("1 + True", "int and bool"), ("'a' + 1", "str and int"), ("[1] < [2]", "list and list"),
    ("True < False", "bool and bool"), ("None < 1", "None and int"), ("-True", "bool"),
    ("[1][1]", "outside"), ("[1][-2]", "outside"), ("[1][10 ** 30]", "outside"),
    ("{}['a']", "no such key"), ("{}[True]", "not bool"), ("{}[[1]]", "not list"),
    ("[1]['a']", "not str"), ("5[0]", "int"), ("2 ** -1", "not negative"),
    ("1 << -1", "not negative"), ("'%d' % 5", "str and int"), ("1 in 'a'", "int and str"),
    ("1 in b'a'", "int and bytes"), ("{2 ** 60: 1}", "between"), ("len(5)", "int"),
    ("min([])", "nothing"), ("max([1, 'a'])", "str and int"), ("sum(['a'])", "int and str"),
    ("sorted([1, 'a'])", "only"), ("sorted([[1]])", "only"), ("int('1_0')", "digits"),
    ("int('٣')", "digits"), ("int(' 1')", "digits"), ("int('')", "digits"),
    ("str([1])", "not list"), ("to_bytes(256, 1)", "fit"), ("to_bytes(-1, 1)", "negative"),
    ("to_bytes(1, 2000)", "0 to 1024"), ("from_hex('0')", "pairs"), ("from_hex('0G')", "pairs"),
    ("b'\\xff'.decode()", "UTF-8"), ("''.split('')", "separator"), ("'a'.replace('', 'b')",
                                                                    "look for"),
    ("'a'.startswith(b'a')", "expected str"), ("[].pop()", "outside"), ("[1].pop(0, 0)", "one"),
    ("{}.pop()", "takes a key"), ("{}.pop('a')", "no such key"), ("[1].get(0)", "no method"),
    ("[].index(1)", "does not hold"), ("[x for x, y in [[1]]]", "list of 2"),
    ("[x for x in 5]", "for ... in"), ("list(5)", "not int"), ("pow(2, -1, 5)", "e ≥ 0"),
    ("pow(2, 5, 0)", "m ≥ 1"), ("str(10 ** 600)", "600 digits"), ("[x for x in range(2 ** 64)]",
                                                                  "64 bits"),
    ("[x for x in range(1, 2, 0)]", "step"), ("'-'.join([1])", "expected str"),
    ("[1][:'a']", "bounds"),
])
def test_failures(expression: str, message: str) -> None:
    """What an expression cannot do fails, with a sentence and the line."""
    receipt = run(f"x = 1\nreturn {expression}")
    assert receipt.status == "failed"
    assert message in (receipt.error or "")
    assert receipt.line == 5
    assert receipt.gas_used < GAS


@pytest.mark.parametrize(("body", "expected"), [
    ("x = 0\nwhile True:\n    x += 1\n    if x == 5:\n        break\nreturn x", 5),
    ("s = 0\nfor i in range(10):\n    if i % 2:\n        continue\n    s += i\nreturn s", 20),
    ("for i in range(9, 0, -3):\n    if i < 7:\n        return i\nreturn 0", 6),
    ("a, b = 1, 2\na, b = b, a\nreturn [a, b]", [2, 1]), ("a, b = [1, 2]\nreturn a - b", -1),
    ("d = {}\nd['x'] = 1\nd['x'] += 4\ndel d['x']\nd[1] = 2\nreturn d", {1: 2}),
    ("x = [1, 2]\ny = x\ny.append(3)\nreturn x", [1, 2, 3]),
    ("x = [1, 2]\nfor i in x:\n    x.append(i)\nreturn x", [1, 2, 1, 2]),
    ("d = {'b': 1, 'a': 2}\nx = []\nfor k in d:\n    x.append(k)\n    d[k + k] = 0\nreturn x",
     ["b", "a"]),
    ("out = []\nfor k, v in {'a': 1}.items():\n    out.extend([k, v])\nreturn out", ["a", 1]),
    ("x = [3]\nx.insert(0, 1)\nx.insert(2, 9)\nx.reverse()\nx.pop(0)\nreturn x", [3, 1]),
    ("d = {'a': 1}\nd.update({'b': 2})\nd.setdefault('c', 3)\nreturn d.pop('a') + d['c']", 4),
    ("if 0:\n    return 1\nelif 1:\n    return 2\nelse:\n    return 3", 2), ("pass", None),
    ("x = [1, 2, 3]\ndel x[0]\nx[-1] = 7\nreturn x", [2, 7]), ("return", None),
    ("x = [1, 2]\nx[0] = x.pop()\nreturn x", [2]),
])
def test_statements(body: str, expected: Any) -> None:
    """Statements do what the reference says; a loop walks what was there when it began."""
    receipt = run(body)
    assert receipt.ok, receipt
    assert receipt.result == expected


def test_arguments_are_copies() -> None:
    """Nothing that a contract does reaches its caller's objects."""
    given = [[1], {"a": [2]}]
    receipt = run("a[0].append(5)\na[1]['a'] = 6\nreturn a", given)
    assert receipt.result == [[1, 5], {"a": 6}]
    assert given == [[1], {"a": [2]}]


def test_constants_are_computed_once_and_annotations_are_checked() -> None:
    top = ("A = 2 ** 10\nB = -A + 1\nC = b'x' * 3\n"
           "def check(x: int | None, y: bytes) -> int | str:\n    return x")
    assert value("[A, B, C]", top=top) == [1024, -1023, b"xxx"]
    assert value("check(5, b'')", top=top) == 5
    for call, message in (("check(True, b'')", "x is None | int, not bool"),
                          ("check(1, '')", "y is bytes, not str"),
                          ("check(None, b'')", "what check returns is int | str, not None")):
        assert message in (run(f"return {call}", top=top).error or "")


SYNTAX = [
    ("def f(:\n    pass", ContractSyntaxError), ("x = 1.5", ContractSyntaxError),
    ("X = 1.5", ContractSyntaxError), ("X = 1j", ContractSyntaxError),
    ("import os", ContractSyntaxError), ("from os import path", ContractSyntaxError),
    ("class A:\n    pass", ContractSyntaxError), ("def f():\n    lambda: 1", ContractSyntaxError),
    ("def f():\n    return lambda: 1", ContractSyntaxError),
    ("def f():\n    yield 1", ContractSyntaxError),
    ("def f():\n    try:\n        pass\n    except:\n        pass", ContractSyntaxError),
    ("def f():\n    with x:\n        pass", ContractSyntaxError),
    ("def f():\n    global x", ContractSyntaxError),
    ("def f():\n    raise 1", ContractSyntaxError),
    ("def f():\n    assert 1", ContractSyntaxError),
    ("def f():\n    return f'{1}'", ContractSyntaxError),
    ("def f():\n    return (1, 2)", ContractSyntaxError),
    ("def f():\n    return {1, 2}", ContractSyntaxError),
    ("def f():\n    return [x for x in []  for y in []]", ContractSyntaxError),
    ("def f():\n    return sum(x for x in [])", ContractSyntaxError),
    ("def f():\n    return 1 / 2", ContractSyntaxError),
    ("def f():\n    return 1 @ 2", ContractSyntaxError),
    ("def f():\n    return [1][::2]", ContractSyntaxError),
    ("def f():\n    return [*[1]]", ContractSyntaxError),
    ("def f():\n    return {**{}}", ContractSyntaxError),
    ("def f():\n    return max(*[1])", ContractSyntaxError),
    ("def f():\n    return ...", ContractSyntaxError),
    ("def f():\n    return 1 is 1", ContractSyntaxError),
    ("def f():\n    x: int = 1", ContractSyntaxError),
    ("def f():\n    x = y = 1", ContractSyntaxError),
    ("def f():\n    return (x := 1)", ContractSyntaxError),
    ("def f():\n    1 + 1", ContractSyntaxError), ("def f(a=1):\n    pass", ContractSyntaxError),
    ("def f(*a):\n    pass", ContractSyntaxError), ("def f(**a):\n    pass", ContractSyntaxError),
    ("def f(a: float):\n    pass", ContractSyntaxError),
    ("async def f():\n    pass", ContractSyntaxError),
    ("@staticmethod\ndef f():\n    pass", ContractSyntaxError),
    ("@only()\ndef f():\n    pass", ContractSyntaxError),
    ("def f():\n    break", ContractSyntaxError), ("def f():\n    def g():\n        pass",
                                                  ContractSyntaxError),
    ("def f():\n    for x in []:\n        pass\n    else:\n        pass", ContractSyntaxError),
    ("def f():\n    return 1\n    return 2", ContractSyntaxError),
    ("def f():\n    return range(3)", ContractSyntaxError),
    ("def f():\n    return len", ContractNameError),
    ("def f():\n    return g()", ContractNameError),
    ("def f():\n    return x", ContractNameError),
    ("def f():\n    if 1:\n        x = 1\n    return x", ContractNameError),
    ("def f():\n    for x in []:\n        pass\n    return x", ContractNameError),
    ("def f():\n    len = 1", ContractNameError), ("A = 1\nA = 2", ContractNameError),
    ("a = 1", ContractNameError), ("A = B", ContractSyntaxError), ("A = [1]", ContractSyntaxError),
    ("A = 1 // 0", ContractError), ("A = 2 ** 9000", ContractError),
    ("def len():\n    pass", ContractNameError), ("def f(storage):\n    pass", ContractNameError),
    ("def f():\n    [x for x in []]\n    [x.append(1) for x in []]", ContractSyntaxError),
    ("x: map[bytes]", ContractSyntaxError), ("x: map[list, int]", ContractSyntaxError),
    ("x: float", ContractSyntaxError), ("x: int = 5", ContractSyntaxError),
    ("x: int\nx: int", ContractNameError), ("def f():\n    return storage.x", ContractNameError),
    ("x: map[int, int]\ndef f():\n    return storage.x", ContractSyntaxError),
    ("x: map[int, int]\ndef f():\n    return storage.x[1, 2]", ContractSyntaxError),
    ("x: map[int, int]\ndef f():\n    for k in storage.x:\n        pass", ContractSyntaxError),
    ("x: map[int, list]\ndef f():\n    storage.x[1].append(2)", ContractSyntaxError),
    ("x: map[int, list]\ndef f():\n    storage.x[1][0] = 2", ContractSyntaxError),
    ("x: map[int, dict]\ndef f():\n    del storage.x[1]['a']['b']", ContractSyntaxError),
    ("x: list\ndef f():\n    storage.x.append(2)", ContractSyntaxError),
    ("x: list\ndef f():\n    storage.x[0] += 2", ContractSyntaxError),
    ("x: int\n@view\ndef f():\n    storage.x = 1", ContractSyntaxError),
    ("x: int\n@view\ndef f():\n    g()\ndef g():\n    storage.x += 1", ContractSyntaxError),
    ("@view\ndef f():\n    emit('x')", ContractSyntaxError),
    ("def f():\n    context.sender = 1", ContractSyntaxError),
    ("def f():\n    return context", ContractNameError),
    ("def f():\n    return context.gas", ContractNameError),
    ("def f():\n    return require", ContractNameError),
    ("def f():\n    require(1)", ContractSyntaxError),
    ("def f():\n    emit(1)", ContractSyntaxError),
    ("def f():\n    emit('x', **{})", ContractSyntaxError),
    ("def f():\n    f()", ContractLimitError),
    ("def f():\n    g()\ndef g():\n    return f()", ContractLimitError),
    ("def f(a, b):\n    return f2(a)\ndef f2(a, b):\n    pass", ContractSyntaxError),
    ("def f():\n    return 'a'.upper()", ContractNameError),
    ("def f():\n    return len()", ContractSyntaxError),
    ("def f():\n    return sorted([], key=1)", ContractSyntaxError),
    ("def f(a, a):\n    pass", ContractSyntaxError), ("def f():\n\treturn 1", ContractSyntaxError),
    ("def f():\n    return 'a\\N{BULLET}'", ContractSyntaxError),
    ("def f():\n    return '\\d'", ContractSyntaxError),
    ("def f():\n    return '\\07'", ContractSyntaxError),
    ("def f():\n    return r'a'", ContractSyntaxError),
    ("def f():\n    return u'a'", ContractSyntaxError),
    ("def f():\n    return 0o17", ContractSyntaxError),
    ("def f():\n    return 1if 1else 2", ContractSyntaxError),
    ("def f():\n    return ｌen([])", ContractSyntaxError),
    ("def f():\n    return \x00", ContractSyntaxError),
    ("def f():\n    return 1\r\n", ContractSyntaxError), ("def f():\n    return '\ud800'",
                                                         ContractSyntaxError),
    ("type X = int", ContractSyntaxError), ("def f[T](a):\n    pass", ContractSyntaxError),
    ("def f():\n    match 1:\n        case 1:\n            pass", ContractSyntaxError),
    ("def f():\n    return 1 $ 2", ContractSyntaxError), ("def f():\n  x = 1\n y = 2",
                                                          ContractSyntaxError),
    ("def f():\n    return '''abc", ContractSyntaxError), ("def f():\n    return (1",
                                                          ContractSyntaxError),
]


@pytest.mark.parametrize(("source", "error"), SYNTAX)
def test_refused_sources(source: str, error: type[ContractError]) -> None:
    """What is outside the whitelist is refused with line and column, never with a crash."""
    with pytest.raises(error) as caught:
        compile_contract(source, "sample")
    assert 1 <= caught.value.line <= source.count("\n") + 2
    assert caught.value.column >= 1
    assert str(caught.value).startswith(f"sample:{caught.value.line}:{caught.value.column}: ")


def test_the_place_of_an_error_is_exact() -> None:
    source = 'A = 1\n\n@public\ndef f(x):\n    y = x + 1\n    return y.foo\n'
    with pytest.raises(ContractSyntaxError) as caught:
        compile_contract(source)
    assert (caught.value.line, caught.value.column) == (6, 12)


def test_a_contract_may_be_empty_and_documented() -> None:
    assert compile_contract("").module.functions == {}
    contract = compile_contract('"""Top."""\ndef f():\n    """Inside."""\n')
    assert contract.module.documentation == "Top."
    assert contract.module.functions["f"].documentation == "Inside."


def test_the_callers_misuse_raises() -> None:
    contract = compile_contract("@public\ndef f(x):\n    return x\n")
    with pytest.raises(UsageError):
        contract.call("f", [1], gas=-1)
    with pytest.raises(UsageError):
        contract.call("f", [1.5], gas=10)
    with pytest.raises(UsageError):
        contract.call("f", [1], gas=10, engine="jit")
    with pytest.raises(UsageError):
        contract.call("f", [1], gas=10, context={"gas": 1})
    with pytest.raises(UsageError):
        contract.call("f", [1], gas=10, context={"height": "1"})
    with pytest.raises(UsageError):
        compile_contract("", "not a name")
    with pytest.raises(UsageError):
        compile_contract("", gas_version=99)


def test_the_guides_example_runs() -> None:
    import doctest

    import bdn.chain.contracts as package

    result = doctest.testmod(package)
    assert result.attempted >= 6
    assert result.failed == 0


def test_the_references_example_compiles() -> None:
    """docs/contract-language.md shows a contract that is one."""
    text = (Path(__file__).parents[2] / "docs" / "contract-language.md").read_text()
    contract = compile_contract(text.partition("```python\n")[2].partition("```")[0], "token")
    assert set(contract.module.functions) == {"transfer", "balance_of", "reward", "_credit"}
