"""What is refused before anything recursive sees a source: size, depth, and odd characters.

Python's own parser can be exhausted by deep input, and what it accepts differs a little from
version to version. So the *tokens* are checked first, with plain counters: afterwards the tree's
depth is bounded by brackets plus operators plus indentation, each small, and every token means the
same to each supported Python.
"""

import io
import re
import tokenize
from collections.abc import Iterator

from bdn.chain.contracts.errors import ContractLimitError, ContractSyntaxError
from bdn.chain.contracts.limits import (
    MAX_BRACKETS,
    MAX_INDENT,
    MAX_LINE,
    MAX_OPERATORS,
    MAX_SOURCE,
)
from bdn.errors import shown

_WORDS = frozenset(
    {"and", "or", "not", "in", "is", "if", "else", "for", "lambda", "await", "yield", "from"}
)
_PLAIN_OPERATORS = frozenset({",", ":", "=", "(", ")", "[", "]", "{", "}", ";", "->"})
_STRING = re.compile(r"([bB]?)('''|\"\"\"|'|\")(.*)\2", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:[\\'\"ntr\n]|0(?![0-7])|x[0-9a-fA-F]{2}|(.))", re.DOTALL)
_INVISIBLE = frozenset((
    0x00AD, 0x034F, 0x061C, 0x180E, *range(0x200B, 0x2010), *range(0x2028, 0x202F),
    *range(0x2060, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFC), *range(0xE0000, 0xE0080)))
_NUMBER = re.compile(r"0[xX][0-9a-fA-F_]+|0[bB][01_]+|[0-9][0-9_]*")


def check_tokens(source: str, name: str) -> None:
    """Raise `ContractLimitError` or `ContractSyntaxError` for a source not worth parsing."""
    if len(source) > MAX_SOURCE:
        raise ContractLimitError(f"a source has at most {MAX_SOURCE} characters", 1, 1, name)
    for number, line in enumerate(source.split("\n"), 1):
        if len(line) > MAX_LINE:
            raise ContractLimitError(f"a line has at most {MAX_LINE} characters", number, 1, name)
        for column, character in enumerate(line, 1):
            if not _visible(character):
                raise ContractSyntaxError(
                    f"the character U+{ord(character):04X} is not allowed; indent with spaces and "
                    "end lines with a line feed", number, column, name)
    _Tokens(name).check(_tokens(source, name))


def _visible(character: str) -> bool:
    """Whether a reader sees the character, and sees it where it stands.

    Control characters, lone surrogates, and what turns the direction of text, has no width or ends
    a line for some programs and not for others are left out by number. No table of Unicode, which
    differs from one Python to the next, is asked.
    """
    number = ord(character)
    return not (number < 0x20 or 0x7F <= number < 0xA0 or 0xD800 <= number <= 0xDFFF
                or number in _INVISIBLE)


def _tokens(source: str, name: str) -> Iterator[tokenize.TokenInfo]:
    try:
        yield from tokenize.generate_tokens(io.StringIO(source).readline)
    except tokenize.TokenError as error:
        line, column = error.args[1]
        raise ContractSyntaxError(str(error.args[0]), line, column + 1, name) from error
    except SyntaxError as error:  # IndentationError too
        raise ContractSyntaxError(
            str(error.msg), error.lineno or 1, error.offset or 1, name) from error


class _Tokens:
    """Counters over the token stream."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.brackets = self.indent = self.operators = 0
        self.previous: tokenize.TokenInfo | None = None

    def check(self, tokens: Iterator[tokenize.TokenInfo]) -> None:
        for token in tokens:
            kind, text = token.type, token.string
            if kind == tokenize.OP:
                self._operator(token)
            elif kind == tokenize.NAME:
                self._name(token)
            elif kind == tokenize.NUMBER:
                self._number(token)
            elif kind == tokenize.STRING:
                self._string(token)
            elif kind == tokenize.NEWLINE:
                self.operators = 0
            elif kind == tokenize.INDENT:
                self.indent += 1
                self._limit(self.indent, MAX_INDENT, "blocks inside blocks", token)
            elif kind == tokenize.DEDENT:
                self.indent -= 1
            elif kind not in (tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER):
                raise self._refuse(f"{shown(text)} is not part of the language", token)
            self.previous = token

    def _operator(self, token: tokenize.TokenInfo) -> None:
        text = token.string
        if text in "([{":
            self.brackets += 1
            self._limit(self.brackets, MAX_BRACKETS, "brackets inside brackets", token)
        elif text in ")]}":
            self.brackets -= 1
        if text not in _PLAIN_OPERATORS:
            self.operators += 1
            self._limit(self.operators, MAX_OPERATORS, "operators in one statement", token)

    def _name(self, token: tokenize.TokenInfo) -> None:
        if not token.string.isascii():
            raise self._refuse("names are written in ASCII", token)
        before = self.previous
        if before is not None and before.type == tokenize.NUMBER and before.end == token.start:
            raise self._refuse("a space belongs between a number and a name", token)
        if token.string in _WORDS:
            self.operators += 1
            self._limit(self.operators, MAX_OPERATORS, "operators in one statement", token)

    def _number(self, token: tokenize.TokenInfo) -> None:
        text = token.string
        if not _NUMBER.fullmatch(text):
            raise self._refuse("numbers are integers, written in decimal, 0x… or 0b…", token)

    def _string(self, token: tokenize.TokenInfo) -> None:
        match = _STRING.fullmatch(token.string)
        if match is None:
            raise self._refuse("a string is '…' or \"…\", bytes are b'…'; no other prefix", token)
        for escape in _ESCAPE.finditer(match[3]):
            if escape[1] is not None:
                raise self._refuse(
                    f"the escape {shown(escape[0])} is not allowed; "
                    "\\\\ \\' \\\" \\n \\t \\r \\0 and \\xHH are", token)

    def _limit(self, count: int, limit: int, what: str, token: tokenize.TokenInfo) -> None:
        if count > limit:
            raise ContractLimitError(
                f"at most {limit} {what}", token.start[0], token.start[1] + 1, self.name)

    def _refuse(self, reason: str, token: tokenize.TokenInfo) -> ContractSyntaxError:
        return ContractSyntaxError(reason, token.start[0], token.start[1] + 1, self.name)
