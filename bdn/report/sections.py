"""The parts of the page that are text and tables: made here, readable without JavaScript."""

from collections.abc import Sequence
from html import escape
from typing import Any

from bdn.report.charts import Level, Line, line_chart, plain_bars, stacked_bars
from bdn.report.facts import norm_bound_cell, scaling_warnings
from bdn.report.formatting import size_text, time_text
from bdn.report.latency import STAGES, median_epoch
from bdn.runfolder.history import History

MANY_LEVELS = 10
"""Above so many devices, only the best, the median and the worst one alone are drawn."""

TOY_BITS = 2048

LEAST_SECONDS = 0.005
"""Work that took less in all has no bar."""

_HOW = {"dealer": "by a dealer", "joint": "jointly"}


def subtitle(history: History) -> str:
    """What was run, in one line."""
    return escape(summary(history))


def summary(history: History) -> str:
    """What was run, in one line of plain text."""
    config = history["config"]
    parts = [f"{config['devices']} devices", f"{config['edges']} edge servers",
             f"data {config['data']}", f"rule {config['rule']}", f"cipher {config['cipher']}",
             f"{config['key_bits']}-bit key made {_HOW[config['key']]}",
             f"any {config['threshold']} of the key holders open a sum",
             config["consensus"].upper(), f"seed {config['seed']}"]
    return " · ".join(parts)


def heading(history: History) -> str:
    """What happened, in a few words."""
    config = history["config"]
    return (f"{config['devices']} devices, one model, agreed on by {config['edges']} edge server"
            + ("s" if config["edges"] != 1 else ""))


def warnings(history: History, more: Sequence[str] = ()) -> str:
    """What a reader must not overlook, and ``more`` sentences of that kind."""
    config, found = history["config"], list(more)
    if not history.get("complete", True):
        found.append("The run was interrupted at its very end: what devices reach alone is not "
                     "known yet; bdn resume computes it.")
    if config["deterministic"]:
        found.append("Deterministic run: every key follows from the seed, so nothing here is "
                     "secret; and work takes no virtual time, so times below are the network's.")
    if config["key_bits"] < TOY_BITS:
        found.append(f"A key of {config['key_bits']} bits is a toy.")
    found += scaling_warnings(history)
    found += [*spoiled_epochs(history), *failed_alone(history)]
    return "".join(f'<p class="warning">{escape(text)}</p>' for text in found)


def headline(
    history: History, latency: Sequence[dict[str, Any]], messages: int,
    blocks: Sequence[dict[str, Any]],
) -> str:
    """The figures that people ask for first; ``blocks`` are the explorer's."""
    devices, epochs = history["devices"], _trained(history)
    samples = sum(device["samples"] for device in devices)
    sent = sum(node["sent_bytes"] for node in [*devices, *history["edges"]])
    views = sorted({block["seal"]["view"] for block in blocks if "view" in block["seal"]})
    sealed = f"in view{'s' * (len(views) > 1)} {', '.join(map(str, views))}" if views else "mined"
    middle = time_text(median_epoch(latency)[0]) if latency else "–"
    tiles = [
        (_percent(history["accuracy"]) or "unknown", "accuracy together",
         f"best device alone {_percent(best_alone(history)) or 'unknown'}"),
        (str(len(epochs)), "epochs", f"{len(devices)} devices, {_number(samples)} samples"),
        (middle, "an epoch's latency", "median, on the virtual clock"),
        (str(len(blocks)), "blocks agreed", sealed),
        (size_text(sent), "sent", f"in {_number(messages)} messages"),
        (str(len(history["refused"])), "refusals", f"{history['seconds']:.0f} s of real time"),
    ]
    found = history.get("detection")
    if found:
        tiles.insert(1, (_percent(found["mean_average_precision"]), "mAP as a detector",
                         f"{found['pictures']} of {found['of']} held-out pictures"))
    return "".join(f"<div class=\"tile\"><b>{escape(value)}</b><span>{escape(name)}</span>"
                   f"<small>{escape(more)}</small></div>" for value, name, more in tiles)


def best_alone(history: History) -> float | None:
    """The best accuracy that a device reaches alone; None where none is known."""
    return max((device["accuracy_alone"] for device in history["devices"]
                if device["accuracy_alone"] is not None), default=None)


def failed_alone(history: History) -> list[str]:
    """A sentence for the devices that got nowhere alone, such as those that diverged."""
    failed = [device for device in history["devices"] if device.get("alone_failed")]
    if not failed:
        return []
    names = ", ".join(device["name"] for device in failed[:MANY_LEVELS])
    more = f" and {len(failed) - MANY_LEVELS} more" if len(failed) > MANY_LEVELS else ""
    return [f"Alone, {names}{more} got no model: {failed[0]['alone_failed']}."]


def shared_work(history: History) -> list[str]:
    """A sentence on what was computed once for several nodes of the process."""
    tallies = history.get("shared_work") or {}
    kinds = [f"{name} {tally['computed']} times for {tally['nodes']}"
             for name, tally in tallies.items() if tally["nodes"] > tally["computed"]]
    if not kinds:
        return []
    charged = sum(tally["charged"] for tally in tallies.values())
    return [(f"Shared work: {', '.join(kinds)} nodes that needed it. {charged:.1f} s were charged "
             "to virtual clocks without being worked; --no-shared-work does all of it.")]


def spoiled_epochs(history: History) -> list[str]:
    """A sentence for each epoch that somebody's update cost."""
    return [("The closing round" if row["closing"] else f"Epoch {row['epoch']}")
            + " is lost: a sum opened that honest devices cannot have made; the model stayed as "
            "it was." for row in history["epochs"] if row.get("spoiled")]


def learning_charts(history: History) -> str:
    """Accuracy and loss by epoch."""
    epochs = _trained(history)
    accuracy = [(row["epoch"], row["accuracy"]) for row in epochs if row["accuracy"] is not None]
    precision = [(row["epoch"], row["mean_precision"]) for row in epochs
                 if row["mean_precision"] is not None]
    test_loss = [(row["epoch"], row["test_loss"]) for row in epochs if row["test_loss"] is not None]
    ring = [(row["epoch"] - (not row["closing"]), row["loss_before"])
            for row in history["epochs"] if row["loss_before"] is not None]
    return line_chart(
        "Accuracy on held-out samples",
        [Line("global model", "first", accuracy), Line("mean precision", "third", precision)],
        _levels(history), y_name="share correct", high=1.0,
    ) + line_chart(
        "Loss",
        [Line("F(w), opened by the devices together", "second", ring),
         Line("on held-out samples", "first", test_loss)],
        y_name="cross-entropy", low=0.0,
    )


def _levels(history: History) -> list[Level]:
    devices = sorted((device for device in history["devices"]
                      if device["accuracy_alone"] is not None),
                     key=lambda device: device["accuracy_alone"])
    if len(devices) > MANY_LEVELS:
        devices = [devices[0], devices[len(devices) // 2], devices[-1]]
    return [Level(f"{device['name']} alone", device["accuracy_alone"]) for device in devices]


def latency_bars(latency: Sequence[dict[str, Any]]) -> str:
    """Where an epoch's time went."""
    rows = [(f"Epoch {item['epoch']}", [value / 1000 for value in item["stages"]])
            for item in latency]
    return stacked_bars(rows, STAGES) if rows else "<p>The trace shows no epoch of this ledger.</p>"


def phase_bars(history: History) -> str:
    """The work of all nodes, added up."""
    phases = sorted(((name, seconds) for name, seconds in history["phases"].items()
                     if seconds >= LEAST_SECONDS), key=lambda item: -item[1])
    return plain_bars([(name, seconds) for name, seconds in phases]) + "".join(
        f"<p>{escape(line)}</p>" for line in shared_work(history))


def device_table(history: History) -> str:
    """What each device had, got, sent and earned."""
    rows = [[device["name"], f"{device['samples']}", _alone(device),
             _percent(device["accuracy_together"]), size_text(device["sent_bytes"]),
             size_text(device["received_bytes"]), f"{device['tokens']}"]
            for device in history["devices"]]
    return table(["device", "samples", "alone", "together", "sent", "received", "tokens"], rows)


def _alone(device: dict[str, Any]) -> str:
    return "failed" if device.get("alone_failed") else _percent(device["accuracy_alone"])


def edge_table(history: History) -> str:
    """Where each edge server stands."""
    rows = [[edge["name"], f"{edge['height']}", f"{edge['view']}", size_text(edge["sent_bytes"]),
             size_text(edge["received_bytes"]), f"{edge['tokens']}"] for edge in history["edges"]]
    return table(["edge server", "height", "view", "sent", "received", "tokens"], rows)


def epoch_table(history: History) -> str:
    """One row an epoch."""
    rows = []
    for row in history["epochs"]:
        shown = row["contributors"] if len(row["contributors"]) <= 10 else []
        contributors = f"{len(row['contributors'])}"
        if shown:
            contributors += f" of {len(history['devices'])}"
        rows.append([
            "end" if row["closing"] else str(row["epoch"]),
            _figure(row["loss_before"]),
            "" if row["closing"] else _figure(row["norm"]), norm_bound_cell(history, row),
            contributors,
            _percent(row["accuracy"]), _percent(row["mean_precision"])])
    return table(["epoch", "F(w) before", "‖w⁽ᵖ⁾ − w⁽ᵖ⁻¹⁾‖₂", "norm bound", "contributors",
                  "accuracy", "mean precision"], rows)


def judged(history: History) -> str:
    """The best model by class: the classifier's precision and, on whole pictures, the detector's.

    Runs from before these figures were kept have none.
    """
    classes, found = history.get("by_class") or [], history.get("detection")
    parts = []
    if found:
        parts.append(
            f"<p>As a detector the model of epoch {history['best_epoch']} reaches a mean average "
            f"precision (mAP) of <b>{_percent(found['mean_average_precision'])}</b> "
            f"({found['rule']}, the data’s own rule; all-point {_percent(found['all_point'])}, "
            f"11-point {_percent(found['eleven_point'])}) on {found['pictures']} of {found['of']} "
            f"held-out pictures with {found['objects']} objects, at an overlap of "
            f"{found['overlap']} or more.</p>")
    if classes:
        by_name = found["classes"] if found else {}
        names = ["class", "precision", "recall"] + (["objects", "AP"] if found else [])
        key = "eleven_point" if found and found["rule"] == "11-point" else "all_point"
        rows = []
        for row in classes:
            cells = [row["name"], _percent(row["precision"]), _percent(row["recall"])]
            one = by_name.get(row["name"])
            if found:
                cells += [str(one["objects"]), _percent(one[key])] if one else ["", ""]
            rows.append(cells)
        mean = _percent(history["mean_precision"])
        parts.append(f"<details><summary>By class: mean precision (mPA) {mean} over the classes "
                     f"that occur, on {history['held_out']} held-out samples</summary>"
                     f"{table(names, rows)}</details>")
    matrix = history.get("confusion")
    if matrix and len(matrix) == len(classes):
        columns = [row["name"] for row in classes]
        rows = [[name, *map(str, row)] for name, row in zip(columns, matrix, strict=True)]
        parts.append("<details><summary>Confusion matrix: a row per label, a column per answer"
                     f"</summary>{table(['label', *columns], rows)}</details>")
    parts += [f'<p class="note">{escape(note[:1].upper() + note[1:])}.</p>'
              for note in history.get("notes") or []]
    return "".join(parts)


def rewards_note(history: History) -> str:
    """The supply is conserved, in one sentence with the sum."""
    held = sum(node["tokens"] for node in [*history["devices"], *history["edges"]])
    return escape(f"{held} tokens with the nodes and {history['treasury']} in the treasury make "
                  f"{held + history['treasury']}; genesis made {history['supply']}.")


def refusals(history: History) -> str:
    """What was refused, and why."""
    if not history["refused"]:
        return ""
    rows = [[str(item.get("node", "")), item["event"], str(item.get("reason", ""))]
            for item in history["refused"][:50]]
    more = len(history["refused"]) - len(rows)
    note = f"<p>… and {more} more in trace.jsonl.</p>" if more > 0 else ""
    return "<h3>Refusals</h3>" + table(["node", "what", "why"], rows, numbers=False) + note


def table(names: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = True) -> str:
    """An HTML table whose first column names the row; it scrolls by itself where it is too wide."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>" for row in rows)
    style = "scroll numbers" if numbers else "scroll"
    return (f'<div class="{style}" tabindex="0"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>")


def _trained(history: History) -> list[dict[str, Any]]:
    return [row for row in history["epochs"] if not row["closing"]]


def _number(value: int) -> str:
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value * 100:.1f}\N{NO-BREAK SPACE}%"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
