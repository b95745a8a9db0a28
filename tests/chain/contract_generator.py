"""Random contracts that compile, for comparing the engines (see `contract_differential`).

Programs are typed while they are made, so that most of what runs makes sense; now and then a wrong
type, a division by zero or a missing key is put in on purpose. Only `random.Random` is used, whose
sequence is the same on every Python, so that a seed names a program.
"""

import random
import re
from collections.abc import Callable, Mapping

from bdn.chain.contracts.contract import compile_contract
from bdn.chain.contracts.errors import ContractLimitError

TYPES = ("int", "bool", "str", "bytes", "list", "dict")

ACCOUNTS = (b"alice", b"bob", b"carol")

HEADER = '''"""Generated."""
LIMIT = 2 ** 70 - 1
SEED = 0xFFFF_FFFF_FFFF_FFFF
STEPS = 7
cell: int
log: list
table: map[int, int]
notes: map[str, int, bytes]
anything: map[bytes, any]
'''

PARTNER = '''"""The contract that generated ones call."""
seen: map[int, int]

@only("fuzzed")
def record(key: int, value: int) -> int:
    require(value % 5 != 4, "the partner refuses")
    storage.seen[key] = storage.seen.get(key, 0) + value
    emit("recorded", key=key, who=context.caller)
    return storage.seen[key]

@view
def recorded(key: int) -> int:
    return storage.seen.get(key, -1)
'''


FORMS: Mapping[str, tuple[str, ...]] = {
    "int": (
        "(<int> + <int>)", "(<int> - <int>)", "(<int> * <int>)", "(<int> & <int>)",
        "(<int> ^ <int>)", "(<int> | <int>)", "(<int> + <int>)", "(<int> * <int>)",
        "(<int> // 3)", "(<int> // (1 + abs(<int>)))", "(<int> % 7)",
        "(<int> % (1 + abs(<int>)))", "(-<int>)", "(~<int>)", "abs(<int>)", "(<int> >> <n>)",
        "(<int> << <n>)", "(abs(<int>) % 40) ** 3", "len(<str>)", "len(<bytes>)", "len(<list>)",
        "len(<dict>)", "sum([<x> for <x> in <list> if <x> > <int>])", "min(<int>, <int>)",
        "max(<int>, <int>)", "(<int> if <bool> else <int>)", "int(str(<int> % 10 ** 20))",
        "from_bytes(<bytes>)", "pow(abs(<int>), abs(<int>) % 50, 1 + abs(<int>))", "int(<bool>)",
        "<dict>.get(<key>, <int>)", "sum(<list>)", "(<int> // 1000003)",
        "<bytes>.find(<bytes>)", "max([1] + <list>)", "<list>.count(<int>)",
        "([7] + <list>).index(7)",
    ),
    "bool": (
        "(<int> < <int>)", "(<int> <= <int>)", "(<int> > <int>)", "(<int> >= <int>)",
        "(<int> == <int>)", "(<int> != <int>)", "(<int> < 5)", "(<int> == 0)", "(<str> < <str>)",
        "(<bytes> >= <bytes>)", "(<str> == <str>)", "(<list> == <list>)", "(<dict> != <dict>)",
        "(<int> < <int> <= <int>)", "(<bool> and <bool>)", "(<bool> or <bool>)", "(not <bool>)",
        "(not <list>)", "(<int> in <list>)", "(<key> in <dict>)", "(<str> in <str>)",
        "(<bytes> not in <bytes>)", "<str>.startswith(<str>)", "any(<list>)", "all(<list>)",
        "(<int> is None)", "(<list> is not None)", "bool(<str>)", "<bytes>.endswith(<bytes>)",
    ),
    "str": (
        "(<str> + <str>)", "str(<int> % 10 ** 30)", "<bytes>.hex()", "<str>[-2:<n>]", "<str>[1:]",
        "<str>.replace('a', <str>)", "'-'.join([<str>, <str>])", "(<str> * 2)",
        "(<str> if <bool> else <str>)", "str(<bool>)", "(2 * <str>)", "<str>[<int> % 4:<n>]",
        "','.join(<str>.split(','))",
        "''.join(sorted([<x> for <x> in <str>]))",
    ),
    "bytes": (
        "(<bytes> + <bytes>)", "<str>.encode()", "to_bytes(abs(<int>) % 2 ** 60, 8)",
        "<bytes>[:<n>]", "<bytes>[:<int> % 9]", "(<bytes> * 3)[1:]",
        "(<bytes> if <bool> else <bytes>)",
        "from_hex(<bytes>.hex())",
    ),
    "list": (
        "[<int>, <int>]", "(<list> + <list>)", "<list>[1:]", "[<x> * <int> for <x> in <list>]",
        "sorted(<list>)", "[<x> + <int> for <x> in range(<n>) if <x> != <int>]", "<list>.copy()",
        "sorted(<list>, reverse=True)", "<list>[<n>:<int> % 5]", "list(<bytes>)", "(<list> * 2)",
        "[<x> for <x> in <bytes> if <x> > 60]", "[<x> for <x> in <dict>.values()]",
        "[[<x>, <x>b][0] for <x>, <x>b in zip(<list>, <list>)]",
    ),
    "dict": (
        "{<key>: <int>, <key>: <int>}", "{str(<x> % 10): <x> for <x> in <list>}", "dict(<dict>)",
        "{<x>: <x>b + 1 for <x>, <x>b in <dict>.items()}", "<dict>.copy()", "{}",
    ),
}
"""Ways to make a value of a type; a part in angle brackets is drawn in its turn."""

CHAIN_FORMS: Mapping[str, tuple[str, ...]] = {
    "int": (
        "storage.cell", "storage.table.get(abs(<int>) % 5, <int>)", "context.height",
        "(context.epoch + context.time)", "partner.recorded(abs(<int>) % 5)", "<list>[<int> % 3]",
        "<dict>[<key>]", "(<int> // <int>)", "(<int> % <int>)", "(<list> + [1]).pop()", "<call>",
    ),
    "bool": ("(abs(<int>) % 5 in storage.table)", "((<str>, 1) not in storage.notes)"),
    "str": ("context.chain", "<bytes>.decode()"),
    "bytes": ("sha256(<bytes>)", "context.sender", "storage.notes.get(<str>, 1, <bytes>)"),
    "list": ("storage.log", "reversed(<list>)", "<dict>.values()", "<dict>.items()",
    "<dict>.keys()",
             "[to_bytes(<int>, 8)]", "[<list>, <list>]"),
    "dict": (),
}
"""The same for what Python does not know, or means a little otherwise."""

CHANGES: Mapping[str, tuple[str, ...]] = {
    "list": (
        "<name>.append(<int>)", "<name>.extend([<int>])", "<name>.insert(0, <int>)",
        "<name>.reverse()", "if <name>:\n    <name>[len(<name>) // 2] = <int>",
        "if <name>:\n    <name>[-1] += <int>", "if <name>:\n    del <name>[0]", "pass",
    ),
    "dict": (
        "<name>[<key>] = <int>", "<name>[<key>] = <int>", "<name>.update({<key>: <int>})",
        "<name>.setdefault(<key>, <int>)", "if <key> in <name>:\n    <name>[<key>] += <int>",
        "<name>.pop(<key>, 0)", "if <key> in <name>:\n    <name>.pop(<key>)",
        "<name>[1] = <int>\ndel <name>[1]",
    ),
}
"""Statements that change a container; after a line feed, a further line."""

CHAIN_STATEMENTS = (
    "storage.cell = <int>", "storage.cell += <int>", "storage.table[abs(<int>) % 5] = <int>",
    "storage.table[abs(<int>) % 5] = <int>", "storage.table[1] = storage.table.get(1, 0) + <int>",
    "if 1 in storage.table:\n    del storage.table[1]", "storage.table[abs(<int>) % 5] += <int>",
    "storage.notes[<str>, abs(<int>) % 5] = <bytes>",
    "storage.anything[<bytes>] = <list>", "storage.anything[<bytes>] = <dict>",
    "storage.anything[<bytes>] = [<str>, <bool>, <dict>]", "storage.log = <list>",
    "storage.log = <list>", "partner.record(abs(<int>) % 5, abs(<int>) % 7)",
    'emit("told", value=<list>, number=<int>)', 'emit("told", value=<dict>)',
    "storage.log = [<list>, <dict>, [<str>]]", "storage.anything[<bytes>] = [[<list>]]",
    'require(<bool> or <bool>, "number " + str(<n>))',
)
"""Statements about storage, events, other contracts."""


class Generator:
    """Makes one program from ``seed``.

    Args:
        seed: names the program.
        pure: leave out what Python itself does not know (storage, events, other contracts) or
            means otherwise (pairs from `enumerate`, `zip` and `items` as values).
    """

    def __init__(self, seed: int, pure: bool = False) -> None:
        self.random = random.Random(seed)
        self.pure = pure
        self.lines: list[str] = []
        self.count = 0
        self.helpers: list[list[str]] = []
        self.loops = 0

    def program(self) -> str:
        """A source with the public function ``main(a: int, b: bytes)``, within the limits.

        A program that outgrows them (a line can) is drawn anew from where the sequence stands.
        """
        while True:
            source = self.drawn()
            try:
                compile_contract(source, "fuzzed")
            except ContractLimitError:
                continue
            return source

    def drawn(self) -> str:
        """A source, large or small."""
        self.count, self.helpers = 0, []
        self.lines = [] if self.pure else HEADER.splitlines()
        if not self.pure:
            self.lines.append("partner: contract")
        for number in range(self.random.randrange(3)):
            kinds = [self.random.choice(TYPES) for _ in range(self.random.randrange(1, 3))]
            self.function(f"helper{number}", kinds, "")
            self.helpers.append(kinds)
        self.function("main", ["int", "bytes"], "@public")
        return "\n".join(self.lines) + "\n"

    def function(self, name: str, kinds: list[str], decorator: str) -> None:
        """Append one function that returns a list of its variables."""
        names = [f"p{index}" for index in range(len(kinds))]
        if decorator:
            self.lines.append(decorator)
        parameters = ", ".join(f"{n}: {k}" if self.chance(0.7) else n
                               for n, k in zip(names, kinds, strict=True))
        self.lines.append(f"def {name}({parameters}):")
        scope = {n: k for n, k in zip(names, kinds, strict=True)}  # noqa: C416 - a dict to grow
        for _ in range(self.random.randrange(2, 9)):
            self.statement(scope, 1)
        results = ", ".join(sorted(scope))
        self.lines.append(f"    return [{results}]")

    # --- statements -----------------------------------------------------------------------------

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def emit_line(self, level: int, text: str) -> None:
        self.lines.append("    " * level + text)

    def fresh(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def statement(self, scope: dict[str, str], level: int) -> None:
        """Append one statement; ``scope`` (name to type) grows by what it surely assigns."""
        kinds: list[tuple[int, Callable[[dict[str, str], int], None]]] = [
            (8, self.assign), (4, self.augment), (4, self.mutate), (1, self.swap)]
        if level < 4:
            kinds += [(4, self.branch), (4, self.for_loop), (1, self.while_loop)]
        if not self.pure:
            kinds.append((7, self.chain))
        weights = [weight for weight, _ in kinds]
        self.random.choices([make for _, make in kinds], weights)[0](scope, level)

    def assign(self, scope: dict[str, str], level: int) -> None:
        kind = self.random.choice(TYPES)
        same = [name for name, known in scope.items() if known == kind]
        name = self.random.choice(same) if same and self.chance(0.4) else self.fresh()
        self.emit_line(level, f"{name} = {self.expression(kind, scope, 3)}")
        scope[name] = kind

    def augment(self, scope: dict[str, str], level: int) -> None:
        names = [name for name, kind in scope.items() if kind == "int"]
        if not names:
            self.assign(scope, level)
            return
        operator = self.random.choice(["+=", "-=", "*=", "//=", "%=", "^=", "&=", "|="])
        right = self.expression("int", scope, 2)
        if operator in ("//=", "%="):
            right = f"(1 + abs({right}))" if self.chance(0.9) else right
        self.emit_line(level, f"{self.random.choice(names)} {operator} {right}")

    def swap(self, scope: dict[str, str], level: int) -> None:
        kind = self.random.choice(TYPES)
        names = [name for name, known in scope.items() if known == kind]
        if len(names) < 2:
            self.assign(scope, level)
            return
        a, b = self.random.sample(names, 2)
        right = f"{b}, {a}" if self.chance(0.5) else f"[{b}, {a}]"
        self.emit_line(level, f"{a}, {b} = {right}")

    def mutate(self, scope: dict[str, str], level: int) -> None:
        names = [name for name, kind in scope.items() if kind in CHANGES]
        if not names:
            self.assign(scope, level)
            return
        name = self.random.choice(names)
        form = self.random.choice(CHANGES[scope[name]]).replace("<name>", name)
        for line in self.fill(form, scope, 2).split("\n"):
            self.emit_line(level, line)

    def chain(self, scope: dict[str, str], level: int) -> None:
        form = self.random.choice(CHAIN_STATEMENTS)
        for line in self.fill(form, scope, 2).split("\n"):
            self.emit_line(level, line)

    def branch(self, scope: dict[str, str], level: int) -> None:
        self.emit_line(level, f"if {self.expression('bool', scope, 2)}:")
        self.body(scope, level)
        if self.chance(0.3):
            self.emit_line(level, f"elif {self.expression('bool', scope, 2)}:")
            self.body(scope, level)
        if self.chance(0.5):
            self.emit_line(level, "else:")
            self.body(scope, level, leaves=False)  # else what follows might not be reached

    def body(self, scope: dict[str, str], level: int, extra: dict[str, str] | None = None,
             leaves: bool = True) -> None:
        inner = {**scope, **(extra or {})}
        for _ in range(self.random.randrange(1, 4)):
            self.statement(inner, level + 1)
        if not leaves:
            return
        if self.loops and self.chance(0.15):
            self.emit_line(level + 1, self.random.choice(["break", "continue"]))
        elif self.chance(0.04):
            self.emit_line(level + 1, f"return {self.expression('int', inner, 2)}")

    def for_loop(self, scope: dict[str, str], level: int) -> None:
        name, other = self.fresh(), self.fresh()
        kind = self.random.choice(["range", "list", "dict", "bytes", "items", "enumerate"])
        extra = {name: "int"}
        if kind == "range":
            head = f"for {name} in range({self.random.randrange(6)})"
        elif kind == "items":
            head = f"for {name}, {other} in {self.expression('dict', scope, 2)}.items()"
            extra = {name: "key", other: "int"}
        elif kind == "enumerate":
            head = f"for {name}, {other} in enumerate({self.expression('bytes', scope, 2)})"
            extra[other] = "int"
        else:
            head = f"for {name} in {self.expression(kind, scope, 2)}"
            extra[name] = "key" if kind == "dict" else "int"
        self.emit_line(level, f"{head}:")
        self.loops += 1
        before = dict(scope)
        if self.pure:  # Python walks what changes; we walk a snapshot
            before = {n: k for n, k in scope.items() if k not in ("list", "dict")}
        self.body(before, level, extra)
        self.loops -= 1

    def while_loop(self, scope: dict[str, str], level: int) -> None:
        name = self.fresh()
        self.emit_line(level, f"{name} = {self.random.randrange(5)}")
        self.emit_line(level, f"while {name} > 0:")
        self.emit_line(level + 1, f"{name} -= 1")
        self.loops += 1
        self.body(scope, level)
        self.loops -= 1
        scope[name] = "int"

    # --- expressions ----------------------------------------------------------------------------

    def expression(self, kind: str, scope: dict[str, str], depth: int) -> str:
        """An expression that should be of type ``kind``."""
        if not self.pure and self.chance(0.004):
            return f"({self.literal(self.random.choice(TYPES))})"
        names = [name for name, known in scope.items() if known == kind]
        if names and self.chance(0.5 if depth else 0.8):
            return self.random.choice(names)
        if depth == 0 or self.chance(0.15):
            return self.literal(kind)
        forms = FORMS[kind] if self.pure else FORMS[kind] + CHAIN_FORMS[kind]
        return self.fill(self.random.choice(forms), scope, depth - 1)

    def fill(self, form: str, scope: dict[str, str], depth: int) -> str:
        """``form`` with its parts drawn."""
        own = self.fresh()

        def part(match: re.Match[str]) -> str:
            match match[1]:
                case "x":
                    return own
                case "n":
                    return str(self.random.randrange(6))
                case "key":
                    return self.key(scope)
                case "call":
                    return self.call(scope)
            return self.expression(match[1], scope, depth)

        return re.sub("<([a-z]+)>", part, form)

    def call(self, scope: dict[str, str]) -> str:
        """A number made of a private function's result; not in loops, where it would multiply."""
        if not self.helpers or self.loops:
            return self.literal("int")
        number = self.random.randrange(len(self.helpers))
        arguments = ", ".join(self.expression(k, scope, 0) for k in self.helpers[number])
        return f"len([helper{number}({arguments})])"

    def key(self, scope: dict[str, str]) -> str:
        """A dict's key."""
        keys = [name for name, kind in scope.items() if kind == "key"]
        if keys and self.chance(0.4):
            return self.random.choice(keys)
        return self.random.choice(['"a"', '"bc"', "1", "-2", "7", 'b"k"', 'b""', '""'])

    def literal(self, kind: str) -> str:
        """A literal of a type."""
        r = self.random
        if kind == "int":
            pool = ["0", "1", "-1", "2", "255", "LIMIT", "SEED", "STEPS", str(r.randrange(-99, 99)),
                    hex(r.getrandbits(63)), hex(r.getrandbits(64)), str(r.getrandbits(130))]
            if self.pure:
                pool = [text for text in pool if not text.isupper()]
            return r.choice(pool)
        if kind == "bool":
            return r.choice(["True", "False"])
        if kind == "str":
            return repr("".join(r.choices("abcXYZ 019,éλ", k=r.randrange(6))))
        if kind == "bytes":
            return repr(bytes(r.choices(range(32, 127), k=r.randrange(6))))
        items = [self.literal("int") for _ in range(r.randrange(4))]
        if kind == "list":
            return f"[{', '.join(items)}]"
        return "{" + ", ".join(f"{self.key({})}: {item}" for item in items) + "}"
