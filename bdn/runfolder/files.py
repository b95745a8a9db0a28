"""Files written as a whole, and files read with bounds.

A reader of `write_atomically`'s files sees the old content or the new one, never a half. What is
read back may have been edited or damaged meanwhile, so `read_json` bounds its size, and `checked`
compares it with a *shape*: a type, a frozenset of texts, a tuple of alternatives, ``[shape]`` for a
list, ``{name: shape}`` for an object (a name that ends in ``?`` may be missing), or ``{str:
shape}`` for an object with any names. Each problem is one sentence that names the file and the
place in it.
"""

import json
import math
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bdn.errors import UsageError
from bdn.json_text import parse_json

TEMPORARY = ".bdn-part"
"""How the names of files end that are being written."""

UNFINISHED = re.compile(rf"\..{{1,60}}\.[0-9a-f]{{8}}{re.escape(TEMPORARY)}", re.DOTALL)
"""The whole name of such a file."""

MAX_BYTES = 1 << 28
MAX_NUMBER = 1 << 63
"""No setting, count, time or figure of a run is larger; a seed may be as large."""

MAX_DEPTH = 40
MAX_LINE = 1 << 20

Shape = Any

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that move a terminal's cursor, turn the direction of text, or are none at all."""


def printable(text: str) -> str:
    """``text`` with control characters replaced, so that showing it does nothing else."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


# --- writing ------------------------------------------------------------------------------------


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write ``content`` (text as UTF-8) to ``path``, whole or not at all, and durably.

    A symbolic link is followed, so that it still points where it did. Raises `UsageError` where
    ``path`` is a folder, a device or anything else but a file, or lies in a missing folder;
    `OSError` where the disk refuses.
    """
    target = writable(path)
    temporary = target.with_name(f".{target.name[:60]}.{secrets.token_hex(4)}{TEMPORARY}")
    # a path that is no UTF-8 has letters that cannot be written: they become question marks
    data = content.encode(errors="replace") if isinstance(content, str) else content
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def writable(path: Path) -> Path:
    """The file that writing to ``path`` would change, links followed.

    Raises `UsageError` where that is not a regular file or a new one in an existing folder.
    """
    try:
        target = path.resolve()
    except (OSError, RuntimeError) as error:
        raise UsageError(f"{path} is a symbolic link that leads nowhere") from error
    if not target.parent.is_dir():
        raise UsageError(f"cannot write {path}: there is no folder {target.parent}; make it first")
    if target.exists() and not target.is_file():
        kind = kind_of(target)
        remedy = "name a file" if kind == "a device" else "remove it or name a file"
        raise UsageError(f"cannot write {path}: it is {kind}; {remedy}")
    return target


def kind_of(path: Path) -> str:
    """What ``path`` is, for a message; symbolic links are not followed."""
    mode = path.lstat().st_mode
    kinds = ((stat.S_ISLNK, "a symbolic link"), (stat.S_ISDIR, "a folder"),
             (stat.S_ISREG, "a file"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
             (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for is_kind, name in kinds if is_kind(mode)), "no file")


def demand_own(path: Path, kind: str) -> None:
    """Raise `UsageError` unless ``path`` is missing or is a ``kind``, "a file" or "a folder".

    bdn asks before it writes to a path inside a run folder. It never makes a symbolic link there,
    so following one would change something that belongs to somebody else.
    """
    try:
        found = kind_of(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    if found != kind:
        raise UsageError(f"{path} is {found}, which bdn did not make: remove it or move it away")


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` durable, where the system can."""
    if os.name == "nt":
        return  # folders cannot be opened there
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any, indent: int | None = 1) -> None:
    """Write ``value`` as JSON; numbers that are not finite become null."""
    text = json.dumps(finite(value), indent=indent, ensure_ascii=False, allow_nan=False)
    write_atomically(path, text + "\n")


def finite(value: Any) -> Any:
    """``value`` with None for every float that JSON cannot carry."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


# --- reading ------------------------------------------------------------------------------------


def read_text(path: Path, most: int = MAX_BYTES) -> str:
    """The UTF-8 text of a regular file of at most ``most`` bytes; `UsageError` naming the file."""
    if not path.exists():
        raise UsageError(f"there is no {path}")
    if not path.is_file():
        raise UsageError(f"{path} is {kind_of(path)}, not a file")
    if path.stat().st_size > most:
        raise UsageError(f"{path} has {path.stat().st_size:,} bytes; more than {most:,} are not "
                         "read")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is damaged: byte {error.start} is not UTF-8") from error


def read_json(path: Path, shape: Shape, most: int = MAX_BYTES) -> Any:
    """The JSON value in ``path``, checked against ``shape``; `UsageError` naming the place."""
    try:
        value = parse_json(read_text(path, most))
    except json.JSONDecodeError as error:
        raise UsageError(f"{path} is damaged: line {error.lineno}, column {error.colno}: "
                         f"{error.msg}") from error
    except ValueError as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path} is damaged: it holds a number of thousands of digits") from error
    except RecursionError as error:
        raise UsageError(f"{path} is damaged: it is nested too deeply") from error
    problem = checked(value, shape)
    if problem:
        raise UsageError(f"{path} is damaged: {problem}")
    return clean(value)


def checked(value: Any, shape: Shape, place: str = "") -> str:
    """Why ``value`` has not ``shape``, or "" where it has.

    Values for which the shape says nothing are only bounded in depth and size.
    """
    where = place or "the whole"
    match shape:
        case dict() if str in shape:
            if not isinstance(value, dict):
                return f"{where} is not an object"
            parts = [(item, shape[str], f"{place}.{str(name)[:40]}".lstrip("."))
                     for name, item in value.items()]
        case dict():
            if not isinstance(value, dict):
                return f"{where} is not an object"
            missing = [name for name in shape if not name.endswith("?") and name not in value]
            if missing:
                return f"{where} has no {missing[0]!r}"
            known = {name.removesuffix("?"): inner for name, inner in shape.items()}
            parts = [(item, known.get(name, object), f"{place}.{name[:40]}".lstrip("."))
                     for name, item in value.items()]
        case [inner]:
            if not isinstance(value, list):
                return f"{where} is not a list"
            parts = [(item, inner, f"{place}[{number}]") for number, item in enumerate(value)]
        case frozenset():
            return "" if isinstance(value, str) and value in shape else (
                f"{where} is not {_named(shape)}")
        case tuple():
            return "" if any(not checked(value, each, place) for each in shape) else (
                f"{where} is not {_named(shape)}")
        case type() | None:
            return _unfit(value, shape, where)
        case _:
            raise AssertionError(f"no shape: {shape!r}")
    return next(filter(None, (checked(*part) for part in parts)), "")


def _unfit(value: Any, shape: Shape, where: str) -> str:
    if isinstance(value, (int, float)) and not abs(value) <= MAX_NUMBER:
        return f"{where} is a number without bounds"
    if shape is object:
        return "" if _depth(value) < MAX_DEPTH else f"{where} is nested too deeply"
    if shape is None:
        return "" if value is None else f"{where} is not null"
    accepted = (int, float) if shape is float else shape
    wrong = not isinstance(value, accepted) or (isinstance(value, bool) and shape is not bool)
    return f"{where} is not {_named(shape)}" if wrong else ""


_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false",
          None: "null"}


def _named(shape: Shape) -> str:
    """A shape in words."""
    match shape:
        case tuple():
            return " or ".join(map(_named, shape))
        case frozenset():
            return " or ".join(map(repr, sorted(shape)))
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return _NAMES[shape]


def _depth(value: Any) -> int:
    """How deeply ``value`` is nested, counted up to `MAX_DEPTH`."""
    level, depth = [value], 0
    while level and depth < MAX_DEPTH:
        level = [inner for item in level if isinstance(item, (dict, list))
                 for inner in (item.values() if isinstance(item, dict) else item)]
        depth += 1
    return depth


def clean(value: Any) -> Any:
    """``value`` with every text in it `printable`."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(key): clean(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clean(item) for item in value]
    return value


def read_json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number, value) for each line of ``path``; None for a line that is no JSON value.

    Nothing where the file is missing. Raises `UsageError` where it is no regular file.
    """
    if not path.exists():
        return
    if not path.is_file():
        raise UsageError(f"{path} is {kind_of(path)}, not a file")
    with path.open("rb") as stream:
        number = 0
        while line := stream.readline(MAX_LINE):
            number += 1
            try:
                yield number, parse_json(line.decode("utf-8-sig"))
            except (ValueError, RecursionError):
                yield number, None
