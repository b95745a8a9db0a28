"""A file of known answers: how it is made, written, read and checked.

A file is one JSON object: ``about`` says what it holds, ``operations`` describes each operation
with its input and output, ``constants`` are byte strings that several cases use, and ``cases`` is a
list of ``{name, operation, input, output}``. Bytes are hexadecimal, integers of 2^53 and more are
decimal texts, and a text ``@name`` in an input stands for a constant. What an implementation must
refuse has the output ``"refused"``.

The answers are what bdn computes. `CaseFile.add` is told whether a case is valid, so that a mistake
of bdn does not become an answer unseen.
"""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bdn.errors import BdnError, UsageError, shown
from bdn.json_text import parse_json
from bdn.runfolder.files import checked, read_text

REFUSED = "refused"

MOST_BYTES = 200_000
"""The longest file."""

FORMAT = "bdn vectors 1"

Operation = Callable[..., Any]
"""Takes an input's entries by name; returns the output, or raises for what must be refused."""

LARGE = 1 << 53
"""From here on JSON's readers may round."""


def hexadecimal(data: bytes) -> str:
    """Return ``data`` as a file holds it."""
    return data.hex()


def number(value: int) -> int | str:
    """Return an integer as a file holds it."""
    return value if -LARGE < value < LARGE else str(value)


@dataclass(slots=True)
class CaseFile:
    """One file of cases.

    Attributes:
        name: the file's, without ``.json``.
        about: what it holds, in a paragraph.
        table: all operations by name.
        constants: hexadecimal texts, or lists of them, by name.
        cases: as written.
    """

    name: str
    about: str
    table: Mapping[str, Operation]
    constants: dict[str, Any] = field(default_factory=dict)
    cases: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, operation: str, *, valid: bool = True, **given: Any) -> Any:
        """Add a case with the answer that bdn gives; return the answer.

        Raises `AssertionError` where bdn refuses a ``valid`` case, or answers another.
        """
        output = self.answer(operation, given)
        assert (output != REFUSED) == valid, f"{self.name}: {name}: {shown(output)}"
        self.cases.append({"name": name, "operation": operation, "input": given, "output": output})
        return output

    def refuse(
        self, name: str, operation: str, given: Mapping[str, Any],
        variants: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """Add a case for each variant of ``given``, all of which must be refused."""
        for what, other in variants.items():
            self.add(f"{name}: {what}", operation, valid=False, **{**given, **other})

    def answer(self, operation: str, given: Mapping[str, Any]) -> Any:
        """Return the output of ``operation``, or `REFUSED`."""
        try:
            return self.table[operation](**{key: self._resolved(item)
                                            for key, item in given.items()})
        except (BdnError, ValueError):
            return REFUSED
        except (TypeError, KeyError, IndexError, AttributeError) as error:
            raise UsageError(f"{self.name}: the input of a case is none of {operation}: "
                             f"{shown(str(error))}") from error

    def _resolved(self, item: Any) -> Any:
        if isinstance(item, str) and item.startswith("@"):
            return self.constants[item[1:]]
        if isinstance(item, list):
            return [self._resolved(each) for each in item]
        if isinstance(item, dict):
            return {key: self._resolved(each) for key, each in item.items()}
        return item

    def to_text(self) -> str:
        """Return the file's text; raises `AssertionError` where it is too long."""
        used = sorted({case["operation"] for case in self.cases})
        told = {name: " ".join((inspect.getdoc(self.table[name]) or "").split()) for name in used}
        head = {"format": FORMAT, "about": self.about, "operations": told,
                "constants": self.constants}
        lines = ",\n".join(json.dumps(case, ensure_ascii=True) for case in self.cases)
        text = json.dumps(head, indent=1)[:-2] + f',\n "cases": [\n{lines}\n]}}\n'
        assert len(text) < MOST_BYTES, f"{self.name}: {len(text)} bytes"
        return text

    def failures(self) -> Iterator[str]:
        """Give the names of the cases whose output is not what bdn computes."""
        for case in self.cases:
            if self.answer(case["operation"], case["input"]) != case["output"]:
                yield case["name"]


SHAPE = {"format": frozenset((FORMAT,)), "about": str, "constants": {str: object},
         "cases": [{"name": str, "operation": str, "input": {str: object}, "output": object}]}
"""What a file must look like."""


def read_file(path: Path, table: Mapping[str, Operation]) -> CaseFile:
    """Return the file at ``path``; raise `UsageError` for one that holds no vectors."""
    remedy = "write the vectors anew with bdn vectors DIR"
    try:
        data = parse_json(read_text(path, MOST_BYTES))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path.name} holds no vectors ({shown(str(error))}); {remedy}"
                         ) from error
    problem = checked(data, SHAPE)
    if problem:
        raise UsageError(f"{path.name} holds no vectors: {problem}; {remedy}")
    for case in data["cases"]:
        if case["operation"] not in table:
            raise UsageError(f"{path.name}: bdn has no operation {shown(case['operation'])}; "
                             f"{remedy}")
    return CaseFile(path.stem, data["about"], table, data["constants"], data["cases"])
