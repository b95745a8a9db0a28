"""A corpus of attacks: each is refused or stopped by gas, in bounded memory and time."""

import tracemalloc

import pytest

from bdn.chain.contracts import ContractError, compile_contract
from bdn.chain.contracts.limits import MAX_STACK

GAS = 120_000
MEGABYTES = 4
"""Four bytes per gas, what short-lived copies add, and the call itself."""
SOURCE_MEGABYTES = 64
"""The tree that Python makes of the longest source, several times over."""

ESCAPES = [
    "().__class__", "''.__class__.__mro__", "[].append.__self__", "'{0.__class__}'.format(1)",
    "'%s' % [1].__len__", "f'{().__class__}'", "(lambda: 0).__globals__", "__import__('os')",
    "eval('1')", "exec('1')", "getattr(1, 'real')", "type(1)", "open('x')", "globals()",
    "vars()", "dir()", "object()", "super()", "print(1)", "input()", "breakpoint()", "id(1)",
    "hash(1)", "iter([1])", "(1).real", "'a'.format_map({})", "'a'.translate({})",
    "b''.maketrans(b'', b'')", "context.__dict__", "context['sender']", "storage.__class__",
    "storage", "storage['x']", "require.__code__", "[x for x in ().__class__.__bases__]",
    "main.__code__", "sorted([1], key=lambda x: x)", "max([1], key=len)", "sum([[1]], [])",
    "map(len, [])", "filter(len, [])", "(x for x in [])", "{*()}", "print", "None.x", "True.real",
    "int.from_bytes(b'', 'big')", "bytes(10 ** 9)", "str.join('', [])", "dict.fromkeys([])",
    "float('nan')", "1e400", "1j", "complex(1)", "memoryview(b'')", "bytearray(5)", "set()",
    "frozenset()", "slice(1)", "await x", "(yield)", "x if x else (y := 1)", "[*range(10 ** 9)]",
]


@pytest.mark.parametrize("expression", ESCAPES)
def test_escapes_are_refused_at_compile_time(expression: str) -> None:
    """No Python object is reachable."""
    with pytest.raises(ContractError):
        compile_contract(f"@public\ndef main():\n    x = {expression}\n    return 1\n")


SOURCES = {
    "long": "# " + "x" * 200 + "\n" + "A = 1\n" * 20_000,
    "long line": "A = " + "1 + " * 5_000 + "1",
    "deep brackets": "A = " + "(" * 300 + "1" + ")" * 300,
    "deep lists": "def f():\n    return " + "[" * 60 + "]" * 60,
    "minus signs": "A = " + "-" * 350 + "1",
    "nots": "def f():\n    return " + "not " * 80 + "1",
    "attributes": "def f():\n    return a" + ".b" * 150,
    "calls": "def f():\n    return a" + "()" * 150,
    "subscripts": "def f(a):\n    return a" + "[0]" * 120,
    "sums": "def f():\n    return " + "1 + " * 90 + "1",
    "continued": "def f():\n    return (" + "1 +\n    " * 5_000 + "1)",
    "comparisons": "def f():\n    return " + "1 < " * 90 + "1",
    "lambdas": "A = " + "lambda: " * 45 + "1",
    "conditionals": "def f():\n    return " + "1 if 1 else " * 32 + "1",
    "nested blocks": "def f():\n" + "".join(
        " " * (i + 1) + "if 1:\n" for i in range(90)) + " " * 95 + "pass",
    "elifs": "def f():\n    if 1:\n        pass\n" + "    elif 1:\n        pass\n" * 2_000,
    "many nodes": "def f():\n" + "    x = [1, 2, 3, 4, 5, 6, 7, 8]\n" * 1_800,
    "huge decimal": "A = " + "9" * 5_000, "huge hexadecimal": "A = 0x" + "f" * 5_000,
    "huge constant": "A = 2 ** 8000 ** 2", "constant tower": "A = 9 ** 9 ** 9 ** 9",
    "constant text": "A = 'a' * 10 ** 9", "constant shift": "A = 1 << 10 ** 12",
    "recursion": "def f():\n    return f()",
    "mutual recursion": "def f():\n    g()\ndef g():\n    h()\ndef h():\n    f()",
    "call chain": "".join(f"def f{i}():\n    f{i + 1}()\n" for i in range(150))
    + "def f150():\n    pass\n",
    "nested comprehensions": "def f():\n    return " + "[" * 22 + "1" + "".join(
        f" for x{i} in [1]]" for i in range(22)) + " + " * 50,
    "null bytes": "A = 1\0", "surrogates": "A = '\udcff'", "many parameters":
        "def f(" + ", ".join(f"a{i}" for i in range(5_000)) + "):\n    pass",
    "odd spaces": "def f():\n\x0c    return 1", "byte order mark": "\ufeffA = 1",
    "right to left": "A = 1 # \u202e\nA\u202e = 2", "fullwidth": "def f():\n    return ｌｅｎ('')",
}


@pytest.mark.parametrize("name", SOURCES)
def test_hostile_sources_are_refused(name: str) -> None:
    """Size and depth are capped before parsing."""
    tracemalloc.start()
    with pytest.raises(ContractError):
        compile_contract(SOURCES[name])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < SOURCE_MEGABYTES * 2**20


BOMBS = {
    "endless loop": "while True:\n    pass",
    "nested loops": "for a in range(10 ** 9):\n    for b in range(10 ** 9):\n        x = a * b",
    "power": "x = 7\nwhile True:\n    x = x ** 7",
    "power of powers": "x = 9 ** 9 ** 9",
    "squaring": "x = 3\nwhile True:\n    x = x * x",
    "squaring within the cap": "x = (1 << 4000) - 1\nwhile True:\n    y = x * x",
    "division within the cap": "x = (1 << 8000) - 1\ny = (1 << 4000) - 1\nwhile True:\n"
                               "    z = x // y",
    "shift": "x = 1 << 10 ** 12",
    "shifting": "x = 1\nwhile True:\n    x = x << 7000",
    "modular power": "x = (1 << 4095) - 1\nwhile True:\n    y = pow(3, x, x)",
    "conversion": "x = 10 ** 599\nwhile True:\n    y = int(str(x))",
    "repeated text": "x = 'abc' * 10 ** 9", "repeated bytes": "x = b'abc' * (1 << 62)",
    "repeated list": "x = [0] * 10 ** 9", "repeated by long": "x = [0] * (1 << 4000)",
    "doubling text": "x = 'ab'\nwhile True:\n    x += x",
    "doubling list": "x = [1]\nwhile True:\n    x += x",
    "doubling by extend": "x = [1]\nwhile True:\n    x.extend(x)",
    "keeping long numbers": "x = []\nwhile True:\n    x.append(1 << 8000)",
    "keeping texts": "x = []\nwhile True:\n    x.append('ab' * 100000)",
    "keeping copies": "x = [1] * 1000\ny = []\nwhile True:\n    y.append(x.copy())",
    "growing dict": "x = {}\ni = 0\nwhile True:\n    i += 1\n    x[i] = i",
    "colliding keys": "x = {}\nfor i in range(4000):\n    x[i * ((1 << 61) - 1)] = i",
    "replace": "x = 'a' * 1000\nwhile True:\n    x = x.replace('a', 'aa')",
    "join": "x = ['a' * 10000] * 1000\ny = 'b' * 10000\nwhile True:\n    z = y.join(x)",
    "split": "x = ',' * 100000\ny = []\nwhile True:\n    y.append(x.split(','))",
    "nested comprehensions": "x = [[[a + b + c for a in range(1000)] for b in range(1000)] "
                             "for c in range(1000)]",
    "comprehension": "x = [a for a in range(1 << 62)]",
    "list in itself": "x = []\nx.append(x)", "list in itself by index": "x = [1]\nx[0] = [x]",
    "list in itself by extend": "x = []\nx.extend([[x]])",
    "list in itself by insert": "x = [[]]\nx[0].insert(0, x)",
    "dict in itself": "x = {}\nx['a'] = [x]", "dict in itself by update":
        "x = {}\nx.update({'a': x})",
    "dict in itself by default": "x = {}\nx.setdefault('a', {'b': x})",
    "through another": "x = []\ny = [x]\nx.append(y)",
    "deep value": "x = []\nfor i in range(10 ** 6):\n    x = [x]\nreturn x == x",
    "deep value compared": "x = []\ny = []\nfor i in range(20000):\n    x = [x]\n    y = [y]\n"
                           "return x == y",
    "deep value returned": "x = []\nfor i in range(17):\n    x = [x]\nreturn x",
    "deep value stored": "x = {}\nfor i in range(17):\n    x = {'a': x}\nstorage.any = x",
    "shared tree compared": "x = [1]\ny = [1]\nfor i in range(14):\n    x = [x] * 9\n"
                            "    y = [y] * 9\nreturn x == y",
    "shared tree stored": "x = [1]\nfor i in range(14):\n    x = [x] * 9\nstorage.any = x",
    "shared tree emitted": "x = [1]\nfor i in range(14):\n    x = [x] * 9\nemit('x', x=x)",
    "shared tree returned": "x = [1]\nfor i in range(14):\n    x = [x] * 9\nreturn x",
    "shared tree appended": "x = [1]\nfor i in range(14):\n    x = [x] * 9\ny = []\ny.append(x)",
    "sorting": "x = ['a' * 10000 + str(i) for i in range(50)]\nwhile True:\n    y = sorted(x)",
    "sorting lists": "x = sorted([[1], [2]])", "sorting mixed": "x = sorted([1, 'a', b'b'])",
    "storage flood": "i = 0\nwhile True:\n    i += 1\n    storage.map[i] = b'x' * 1000",
    "large value stored": "x = [1 << 8000] * 100000\nstorage.any = x",
    "reading a large value": "storage.any = [0] * 10000\nwhile True:\n    x = storage.any",
    "event flood": "while True:\n    emit('x', a=1)",
    "large events": "x = b'x' * 100000\nwhile True:\n    emit('x', a=x)",
    "search": "x = 'a' * 100000\ny = 'a' * 50000 + 'b'\nwhile True:\n    z = y in x",
    "hashing": "x = b'a' * 100000\nwhile True:\n    y = sha256(x)",
    "signatures": "x = b'a' * 32\nwhile True:\n    y = signature_verify(x, 'a', x, x + x)",
    "vector power": "x = b'a' * 51200\nk = (1 << 4095) + 7\nwhile True:\n"
                    "    y = vector_power(x, k, k)",
    "vector inverse": "x = b'a' * 51200\nk = (1 << 4095) + 7\nwhile True:\n"
                      "    y = vector_inverse(x, k)",
    "huge result": "return b'a' * (1 << 19)",
    "huge message": "require(False, 'a' * (1 << 19) * 2)",
}


@pytest.mark.parametrize("engine", ["walker", "closures"])
@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_stopped(name: str, engine: str) -> None:
    """Stopped by gas or by a limit, with little memory; nothing is left behind."""
    body = "".join(f"    {line}\n" for line in BOMBS[name].split("\n"))
    contract = compile_contract(
        f"any: any\nmap: map[int, bytes]\n@public\ndef main():\n{body}", "bomb")
    tracemalloc.start()
    receipt = contract.call("main", gas=GAS, engine=engine)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert receipt.status in ("out-of-gas", "failed", "reverted"), receipt
    assert receipt.gas_used <= GAS
    assert peak < MEGABYTES * 2**20


def test_storage_has_no_aliases() -> None:
    """What was written does not change with the list that it came from, nor with what was read."""
    contract = compile_contract('''
box: list
@public
def main() -> list:
    x = [[1], 2]
    storage.box = x
    x[0].append(99)
    y = storage.box
    y[0].append(98)
    emit("seen", box=x)
    x[0].append(97)
    return [storage.box, y]
''')
    for engine in ("walker", "closures"):
        receipt = contract.call("main", gas=GAS, engine=engine)
        assert receipt.result == [[[1], 2], [[1, 98], 2]]
        assert receipt.events[0].fields == {"box": [[1, 99], 2]}


def test_the_deepest_programs_fit_pythons_stack() -> None:
    """Neither engine exhausts the stack at the limit that the compiler allows, also when a test
    runner has used up a good part of it."""
    depth = 0
    for candidate in range(4, 60):
        body = "abs(len([" * 7 + "1" + "]))" * 7
        chain = "".join(f"def f{i}(x):\n    if x:\n        for y in [x]:\n"
                        f"            return f{i + 1}(y)\n    return 0\n" for i in range(candidate))
        source = (f"{chain}def f{candidate}(x):\n    return {body}\n"
                  "@public\ndef main():\n    return f0(1)\n")
        try:
            contract = compile_contract(source)
        except ContractError:
            break
        depth = contract.module.stack["main"]
        for engine in ("walker", "closures"):
            assert contract.call("main", gas=GAS, engine=engine).result == 1
    assert MAX_STACK - 8 < depth <= MAX_STACK
