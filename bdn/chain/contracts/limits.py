"""Hard limits. Gas bounds what a contract may spend; these bound what one value or source may be.

They are part of the language: changing one changes which programs fail, so they are versioned
together with the gas table (`bdn.chain.contracts.gas`).
"""

# --- values -------------------------------------------------------------------------------------

MAX_INT_BITS = 8192
"""Bits of an integer's magnitude: a product of two residues modulo a 4096-bit N² still fits."""

MAX_TEXT = 1 << 20
"""Characters of a string, and bytes of a byte string."""

MAX_ITEMS = 1 << 20
"""Items of a list."""

MAX_ENTRIES = 4096
"""Entries of a dict in memory. Larger tables belong in storage. The bound keeps the worst case of
Python's open addressing small: integer keys hash to themselves, so their collisions can be
constructed, unlike those of strings and bytes, whose hash is keyed at random."""

MAX_KEY_INT = 1 << 60
"""Integer keys lie strictly between minus this and this: below the modulus 2^61 − 1 of Python's
integer hash, so that distinct keys have distinct hashes (but for −1 and −2)."""

MAX_DEPTH = 16
"""Nesting of lists and dicts."""

MAX_DIGITS = 600
"""Decimal digits that `str` and `int` convert. Conversion is quadratic, and Python's own limit can
be set by an environment variable, never below 640; below it, nothing outside can be noticed."""

# --- sources ------------------------------------------------------------------------------------

MAX_SOURCE = 64 * 1024
"""Characters of a source."""

MAX_LINE = 400
"""Characters of one line of a source."""

MAX_BRACKETS = 24
"""Nesting of brackets."""

MAX_INDENT = 12
"""Nesting of blocks."""

MAX_OPERATORS = 60
"""Operators and operator-like keywords in one logical line: with the brackets they bound how deep
its syntax tree can be, before anything recursive sees it."""

MAX_ELIF = 40
"""`elif` arms that follow one another: each is nested in the one before."""

MAX_NODES = 20_000
"""Nodes of the syntax tree."""

MAX_VARIABLES = 256
"""Variables of a function, parameters and those of comprehensions included."""

CONSTANT_GAS = 200_000
"""What computing all constants of a contract may cost together."""

MAX_STACK = 100
"""Depth of the deepest chain of calls, each counted with the depth of its syntax tree, over all
contracts on the stack. There is no recursion, so each function's need is known before it runs, and
neither engine can exhaust Python's stack."""
