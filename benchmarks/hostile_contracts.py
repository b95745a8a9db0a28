"""Contracts that try to get more seconds or more bytes for their gas than other programs do.

Each is (lines before, work): the work is an expression or a statement that an endless loop repeats
until the gas is gone. An expression is measured twice: its value dropped, which is about time, and
its value kept in a list, which is about memory. Together they use every operator, method, built-in
function, host function and kind of statement, each on the arguments that are worst for it.
``benchmarks/contracts.py`` prints the figures, and ``tests/chain/test_contract_gas.py`` bounds the
bytes.
"""

from bdn.chain.contracts import Contract, compile_contract

LONG = "x = (1 << 8190) - 12345"
BOTH = "x = (1 << 8190) - 12345\nz = (1 << 8190) - 54321"
TEXT = "x = 'ab' * 50000"
WIDE = "x = chr4 * 50000"
BYTES = "x = b'ab' * 50000"
LIST = "x = [7] * 50000"
DICT = "x = {i: i for i in range(4000)}"
VECTOR = "k = (1 << 4095) + 7\nx = b'a' * 5120"
SMALL_VECTOR = "k = 200\nx = b'a' * 5120"

HOSTILE: dict[str, tuple[str, str]] = {
    # operators on numbers
    "small sums": ("x = 1", "x + i"),
    "sums of long numbers": (BOTH, "x + z"),
    "differences that vanish": (LONG, "x - x"),
    "long products": ("x = (1 << 4090) - 12345", "x * x"),
    "long by short products": ("x = (1 << 8000) - 12345", "x * 3"),
    "long quotients": ("x = (1 << 8190) - 12345\nz = (1 << 4090) - 321", "x // z"),
    "long by short remainders": (LONG, "x % 7"),
    "powers": ("x = 3", "x ** 5000"),
    "powers of two": ("x = 2", "x ** 8000"),
    "shifts to the left": ("x = 1", "x << 8000"),
    "shifts to the right": (LONG, "x >> 8100"),
    "bits of long numbers": (BOTH, "x & z"),
    "bits of long and negative numbers": (BOTH, "x | -z"),
    "bits that vanish": (LONG, "x ^ x"),
    "long complements": (LONG, "~x"),
    "long negatives": (LONG, "-x"),
    "comparing equal long numbers": ("x = (1 << 8190) - 1\nz = (1 << 8190) - 1", "x == z"),
    "chains of long comparisons": ("x = (1 << 8190) - 1\nz = (1 << 8190) - 1", "x <= z <= x <= z"),
    "division by a variable": ("x = 12345678901\nz = 77", "x // z % z"),
    # built-in functions on numbers
    "modular powers": ("x = (1 << 4095) - 5", "pow(x - 5, x, x)"),
    "small modular powers": ("x = (1 << 60) - 5", "pow(x - 9, x, x)"),
    "long bases": ("x = (1 << 8190) - 5", "pow(x, 1, 7)"),
    "numbers to text": ("x = 1 << 1900", "str(x)"),
    "text to numbers": ("x = str(10 ** 599)", "int(x)"),
    "absolute values": ("x = 1 - (1 << 8190)", "abs(x)"),
    "numbers to bytes": ("x = (1 << 8190) - 1", "to_bytes(x, 1024)"),
    "small numbers to bytes": ("x = 77", "to_bytes(x, 32)"),
    "bytes to numbers": ("x = b'a' * 1024", "from_bytes(x)"),
    # texts and bytes
    "joining bytes": (BYTES, "x + x"),
    "joining short bytes": ("x = b'a'", "x + x"),
    "joining texts": (TEXT, "x + x"),
    "joining wide texts": (WIDE, "x + x"),
    "widening": (TEXT, "x + chr4"),
    "repeating wide texts": ("", "chr4 * 50000"),
    "repeating bytes": ("", "b'a' * 50000"),
    "slices of bytes": (BYTES, "x[1:]"),
    "slices of wide texts": (WIDE, "x[1:]"),
    "short slices": (BYTES, "x[i % 9:i % 9 + 1]"),
    "characters": (WIDE, "x[i % 9]"),
    "octets": (BYTES, "x[i % 9]"),
    "comparing equal texts": ("x = 'ab' * 50000\nz = 'ab' * 50000", "x == z"),
    "comparing texts of two widths": ("x = chr2 * 50000\nz = chr2 * 50000 + chr4", "x < z"),
    "comparing equal bytes": ("x = b'ab' * 50000\nz = b'ab' * 50000", "x < z"),
    "searching naively": ("x = b'a' * 2400\nn = b'a' * 600 + b'b' + b'a' * 600", "n in x"),
    "searching short parts naively": ("x = 'a' * 29000\nn = 'a' * 49 + 'b' + 'a' * 49", "n in x"),
    "searching wide texts naively": ("x = chr4 * 2400\nn = chr4 * 600 + 'b' + chr4 * 600",
                                     "x.find(n)"),
    "searching in two ways": ("x = b'a' * 50000\nn = b'a' * 500 + b'b' + b'a' * 500", "n in x"),
    "searching adaptively": ("x = b'a' * 50000\nn = b'a' * 12000 + b'b' + b'a' * 12000",
                             "x.find(n)"),
    "searching periods": ("x = 'ab' * 25000\nn = 'ab' * 400 + 'aa' + 'ab' * 400", "x.find(n)"),
    "searching pairs": ("x = 'a' * 50000\nn = 'ba'", "n in x"),
    "counting by replacing naively": ("x = b'a' * 2400\nn = b'a' * 600 + b'b' + b'a' * 600",
                                      "x.replace(n, b'')"),
    "replacing everything": ("x = b'ab' * 10000", "x.replace(b'a', b'cc')"),
    "replacing by wide texts": ("x = 'ab' * 10000", "x.replace('a', chr4)"),
    "replacing by nothing": ("x = 'a' * 50000", "x.replace('a', '')"),
    "splitting naively": ("x = 'a' * 2400\nn = 'a' * 600 + 'b' + 'a' * 600", "x.split(n)"),
    "splitting into nothing": ("x = b',' * 20000", "x.split(b',')"),
    "splitting into octets": ("x = b'ab,' * 9000", "x.split(b',')"),
    "splitting wide texts": ("x = (chr4 + ',') * 9000", "x.split(',')"),
    "joining many": ("x = ['ab'] * 20000", "''.join(x)"),
    "joining with a wide text": ("x = ['ab'] * 20000", "chr4.join(x)"),
    "encoding": (WIDE, "x.encode()"),
    "decoding": ("x = (chr4 * 20000).encode()", "x.decode()"),
    "decoding to a wider text": ("x = ('a' * 80000 + chr4).encode()", "x.decode()"),
    "writing hexadecimal": (BYTES, "x.hex()"),
    "reading hexadecimal": ("x = 'ab' * 20000", "from_hex(x)"),
    "beginnings": ("x = 'ab' * 50000\nz = 'ab' * 49999", "x.startswith(z)"),
    "ends": ("x = chr4 * 50000\nz = chr4 * 49999", "x.endswith(z)"),
    # lists
    "empty lists": ("", "[]"),
    "lists of literals": ("", "[1, 2, 3, 4, 5, 6, 7, 8]"),
    "nested lists": ("", "[[], [], [], []]"),
    "joining lists": (LIST, "x + x"),
    "repeating lists": ("", "[7] * 50000"),
    "slices of lists": (LIST, "x[1:]"),
    "copies": (LIST, "x.copy()"),
    "reversed copies": (LIST, "reversed(x)"),
    "characters of a wide text": (WIDE, "list(x)"),
    "characters of a plain text": (TEXT, "list(x)"),
    "octets of bytes": (BYTES, "list(x)"),
    "numbered items": (LIST, "enumerate(x)"),
    "numbered wide characters": (WIDE, "enumerate(x)"),
    "pairs": (LIST, "zip(x, x)"),
    "fours of wide characters": (WIDE, "zip(x, x, x, x)"),
    "sorting numbers": ("x = [(a * 7919) % 10007 for a in range(5000)]", "sorted(x)"),
    "sorting long numbers": ("x = [(1 << 8000) + (a * 7919) % 1009 for a in range(500)]",
                             "sorted(x)"),
    "sorting texts": ("x = ['ab' * 100 + str((a * 7919) % 1009) for a in range(900)]", "sorted(x)"),
    "sorting texts of two widths": (
        "x = [chr2 * 60 + (chr4 if a % 10 else '') + str((a * 7919) % 1009) for a in range(900)]",
        "sorted(x)"),
    "maximum": ("x = [1] * 5000", "max(x)"),
    "minimum of texts": ("x = ['ab' * 15] * 5000", "min(x)"),
    "maximum of arguments": ("x = b'a' * 31", "max(x, x, x, x, x, x, x, x)"),
    "sum": ("x = [1 << 40] * 5000", "sum(x)"),
    "sum of long numbers": ("x = [1 << 8000] * 5000", "sum(x)"),
    "membership": ("x = ['abcdefgh'] * 5000", "'abcdefgi' in x"),
    "position": ("x = [b'a'] * 5000\nx.append(b'b')", "x.index(b'b')"),
    "counting": ("x = ['abcdefgh'] * 5000", "x.count('abcdefgi')"),
    "equality of nested lists": ("x = [[1]] * 5000\nz = [[1]] * 5000", "x == z"),
    "any": ("x = [[]] * 50000", "any(x)"),
    "all": ("x = [7] * 50000", "all(x)"),
    "taking the first": ("x = [7] * 100000", "x.pop(0)"),
    "inserting in front": ("x = [7] * 100000", "x.insert(0, 7)"),
    "deleting in front": ("x = [7] * 100000", "del x[0]"),
    "turning around": (LIST, "x.reverse()"),
    "extending": ("x = []\nz = [[]]", "x.extend(z)"),
    "appending lists": ("x = [1] * 1000\nz = []", "z.append(x)"),
    "comprehension": ("", "[a for a in range(1000)]"),
    "comprehension of lists": ("", "[[] for a in range(1000)]"),
    "comprehension of characters": (WIDE, "[a for a in x]"),
    "nothing accepted": ("", "[a for a in range(1000) if False]"),
    # dicts
    "empty dicts": ("", "{}"),
    "dicts of one entry": ("", "{1: 1}"),
    "dict of literals": ("", "{'a': 1, 'b': 2, 'c': 3, 'd': 4}"),
    "dict comprehension": ("", "{a: a for a in range(1000)}"),
    "dict comprehension of bytes": ("", "{to_bytes(a, 2): a for a in range(1000)}"),
    "copies of dicts": (DICT, "x.copy()"),
    "copies of small dicts": ("x = {1: 1}", "x.copy()"),
    "dict of a dict": (DICT, "dict(x)"),
    "keys": (DICT, "x.keys()"),
    "values": (DICT, "x.values()"),
    "items": (DICT, "x.items()"),
    "updates": (DICT + "\nz = {}", "z.update(x)"),
    "defaults": ("x = {}", "x.setdefault(i % 4000, i)"),
    "entries": ("x = {}", "x[i % 4000] = i"),
    "long keys": ("x = {}\nz = b'a' * 100000", "x.get(z, 0)"),
    "long keys made anew": ("x = {}\nz = b'a' * 1000", "x.get(z + b'b', 0)"),
    "equality of dicts": (DICT + "\nz = x.copy()", "x == z"),
    # statements and calls
    "nothing": ("", "pass"),
    "conditions": ("x = 1", "1 if x else 2"),
    "lengths": ("x = [7] * 1000", "len(x)"),
    "truth": ("x = [7] * 1000", "bool(x)"),
    "absence": ("x = None", "x is None"),
    "requirements": ("", "require(True, 'no')"),
    "branches": ("x = 1", "if x:\n    pass"),
    "loops that are left": ("", "for a in range(3):\n    break"),
    "loops that go on": ("", "for a in range(3):\n    continue"),
    "logic": ("x = 1", "x and x and x and x"),
    "context": ("", "context.sender"),
    "private calls": ("x = 1", "helper(x)"),
    "checked private calls": ("x = 1", "checked(x, x)"),
    "calls of another contract": ("x = [1] * 100", "other.echo(x)"),
    "loops over lists": (LIST, "for a in x:\n    pass"),
    "loops over wide texts": (WIDE, "for a in x:\n    pass"),
    "unpacking": ("x = [1, 2]", "a, b = x"),
    "inner loops": ("", "while i > 0:\n    i -= 1"),
    # storage and events
    "reading a number": ("storage.map[1] = b''", "storage.map.get(1, b'')"),
    "reading a list": ("storage.any = [1] * 10000", "storage.any"),
    "reading empty lists": ("storage.any = [[]] * 10000", "storage.any"),
    "reading a wide text": (WIDE + "\nstorage.any = x", "storage.any"),
    "reading bytes": (BYTES + "\nstorage.any = x", "storage.any"),
    "reading a dict": (DICT + "\nstorage.any = x", "storage.any"),
    "looking for long keys": ("x = b'a' * 100000", "x in storage.long"),
    "writing a list": ("x = [1] * 1000", "storage.any = x"),
    "writing many": ("", "storage.map[i] = b''"),
    "writing long keys": ("x = b'a' * 30000", "storage.long[x + to_bytes(i, 4)] = 1"),
    "deleting": ("", "storage.map[1] = b''\ndel storage.map[1]"),
    "events": ("", "emit('e', a=1)"),
    "long events": (BYTES, "emit('e', a=x)"),
    "events with lists": ("x = [[]] * 1000", "emit('e', a=x)"),
    # host functions
    "hashing": (BYTES, "sha256(x)"),
    "hashing nothing": ("", "sha256(b'')"),
    "signatures": ("x = b'a' * 32", "signature_verify(x, 'a', x, x + x)"),
    "signatures of long messages": (BYTES, "signature_verify(x[:32], 'a', x, x[:64])"),
    "signature domains": ("x = b'a' * 32\nd = 'a' * 50",
                          "signature_verify(x, d + str(i), x, x + x)"),
    "inclusion proofs": ("x = b'a' * 32", "merkle_verify(x, 5, 1 << 20, [x] * 20, x)"),
    "proofs of the wrong length": ("x = b'a' * 32", "merkle_verify(x, 5, 7, [x] * 2000, x)"),
    "vector products": (VECTOR, "vector_product(x, x, k)"),
    "small vector products": (SMALL_VECTOR, "vector_product(x, x, k)"),
    "vector powers": (VECTOR, "vector_power(x, 1000003, k)"),
    "vector powers of nothing": (VECTOR, "vector_power(b'', k, k)"),
    "small vector powers": (SMALL_VECTOR, "vector_power(x, 0, k)"),
    "vector inverses": (VECTOR + "\nx = b'a' * 512", "vector_inverse(x, k)"),
    "small vector inverses": ("k = 251\nx = b'a' * 5120", "vector_inverse(x, k)"),
    "weighted products": (VECTOR, "weighted_product([x, x], [3, 1000003], k)"),
    "weighted products of nothing": (VECTOR + "\nz = [b''] * 1000\nw = [k >> 1] * 1000",
                                     "weighted_product(z, w, k)"),
    "many short weighted products": ("k = 251\nz = [b'a'] * 1000\nw = [1] * 1000",
                                     "weighted_product(z, w, k)"),
}

OTHER = "@view\ndef echo(x: list) -> list:\n    return x\n"
"""The contract that "calls of another contract" calls."""

_FRAME = '''
any: any
map: map[int, bytes]
long: map[bytes, int]
other: contract

def helper(x):
    return x

def checked(x: int | None, y: int) -> int:
    return y

@public
def main():
    chr2 = b'\\xc4\\x80'.decode()
    chr4 = b'\\xf0\\x9f\\xab\\xa8'.decode()
    kept = []
'''


def hostile_contract(name: str, keep: bool) -> Contract:
    """Return the program ``name``; with ``keep``, an expression's values stay in a list."""
    before, work = HOSTILE[name]
    first = work.partition("\n")[0]
    statement = (first.endswith((":", "pass"))
                 or first.startswith(("del ", "emit(", "a, b", "require("))
                 or " = " in first.partition("(")[0] or ("] = " in first))
    line = work if statement else f"kept.append({work})" if keep else f"y = {work}"
    body = [*before.split("\n"), "for i in range(1000000000):",
            *("    " + part for part in line.split("\n"))]
    return compile_contract(_FRAME + "".join(f"    {part}\n" for part in body if part), "hostile")
