"""Progress of a run: on a terminal a live table by device and phase, else a line an epoch."""

import time
from types import TracebackType
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bdn.cli.screen import PlainConsole
from bdn.experiments.config import RunConfig

WORK = {"train": "trained", "seal": "sealed", "share": "shared", "open": "opened"}
BLOCKS_SHOWN = 6

WITH_PICTURES = ("scenes", "voc", "voc+background")
"""Data on whose pictures a run looks for objects when it has trained."""


class RunProgress:
    """Listens to a run's trace and shows it on standard error."""

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._console = PlainConsole(stderr=True, goes_on=True)
        self._started = time.monotonic()
        self._devices: dict[str, dict[str, float]] = {}
        self._line = "loading data"
        self._reason = ""
        self._epoch = 0
        self._blocks: list[str] = []
        live = self._console.is_terminal
        self._live = Live(console=self._console, refresh_per_second=8) if live else None

    def __enter__(self) -> "RunProgress":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self._live is not None:
            self._live.stop()

    def hear(self, record: dict[str, Any]) -> None:
        """Take one trace event."""
        match record["event"]:
            case "work":
                row = self._devices.setdefault(record["node"], {})
                row[record["kind"]] = row.get(record["kind"], 0.0) + record["seconds"]
            case "sealed" if record["node"].endswith("-0"):
                view = "" if record["view"] is None else f", view {record['view']}"
                self._blocks.append(f"block {record['height']} ({record['kind']}{view}, "
                                    f"{record['transactions']} transactions)")
            case "waiting" | "process-ended" if record["reason"] != self._reason:
                self._reason = record["reason"]  # every edge server says the same
                self._say(self._reason)
            case "epoch-done":
                self._epoch = record["epoch"]
                self._say(f"epoch {record['epoch']} of {self._config.epochs}: "
                          + (f"accuracy {record['accuracy']:.4f}"
                             if record["accuracy"] is not None else "done"))
            case "compare" if self._config.data.partition(":")[0] in WITH_PICTURES:
                self._say(f"looking for objects on {self._config.pictures} held-out pictures")
            case _:
                line = sentence(record)
                if line:
                    self._say(line)
        if self._live is not None:
            self._live.update(self._picture())

    def _say(self, line: str) -> None:
        self._line = line
        if self._live is None:
            seconds = time.monotonic() - self._started
            self._console.print(f"[{seconds:6.1f} s] {line}", soft_wrap=True)

    def _picture(self) -> Group:
        table = Table(title=None, box=None, pad_edge=False)
        table.add_column("device")
        for kind in WORK:
            table.add_column(f"{WORK[kind]} (s)", justify="right")
        for name in sorted(self._devices, key=_by_number):
            seconds = self._devices[name]
            table.add_row(name, *(f"{seconds[kind]:.2f}" if kind in seconds else "·"
                                  for kind in WORK))
        elapsed = time.monotonic() - self._started
        head = Text(f"epoch {min(self._epoch + 1, self._config.epochs)} of {self._config.epochs}"
                    f"  {elapsed:.0f} s  {self._line}", style="bold")
        blocks = Text("  ".join(self._blocks[-BLOCKS_SHOWN:][-2:]), style="dim")
        return Group(head, table, blocks)


def sentence(record: dict[str, Any]) -> str:
    """A trace event in words; "" for one that only counts."""
    match record["event"]:
        case "key-begun":
            return f"making the {record['bits']}-bit key ({record['how']})"
        case "key-progress":
            return (f"joint key, round {record['round']}: {record['tried']} candidates of about "
                    f"{record['expected']:.0f}")
        case "key":
            return f"key of {record['bits']} bits made in {record['seconds']:.1f} s"
        case "ledger-restored":
            return (f"{record['node']}: caught up from its peers to block {record['height']}: "
                    f"{record['reason']}")
        case "new-view":
            return f"{record.get('node', '')}: view change to view {record.get('view')}"
        case "scaled":
            return (f"{record['node']}: update scaled by {record['factor']:.3g} to fit its "
                    f"{record['limit']}")
        case "refused" | "transaction-refused" | "failed" | "spoiled":
            return f"{record['node']}: {record['event']}: {record.get('reason', '')}"
    return ""


def _by_number(name: str) -> tuple[int, str]:
    digits = name.rpartition("-")[2]
    return (int(digits) if digits.isdecimal() else 0, name)
