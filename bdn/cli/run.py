"""``bdn run``: the main job."""

import dataclasses
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import click

from bdn.cli.options import NamedPath
from bdn.cli.progress import RunProgress
from bdn.cli.tables import print_history
from bdn.errors import UsageError
from bdn.experiments.clients import people_of
from bdn.experiments.config import KEYS, PRESETS, SPLITS, RunConfig
from bdn.experiments.folder import RunFolder
from bdn.experiments.participants import Participants, absolute_data
from bdn.experiments.processes.run import ProcessRun, check_playable, opened_processes
from bdn.experiments.run import Run, opened_run
from bdn.learning import MODELS, RULES
from bdn.learning.datasets.sources import TABLE as DATA_SOURCES
from bdn.learning.executors import AUTO, check_executor, choose_executor
from bdn.learning.schedules import USAGE
from bdn.learning.server import SERVER_RULES
from bdn.nodes.settings import CIPHERS, Bounds, bounds_from_text, bounds_to_text
from bdn.report import write_report
from bdn.runfolder.files import finite

DEFAULTS = RunConfig()

WORTHWHILE_BITS = 2048
"""Below this, sealing is done before worker processes have started."""

HELP = {
    "devices": "IoT devices, n.",
    "edges": "Edge servers (3f + 1 withstand f faulty ones).",
    "threshold": "Devices whose shares open an aggregate, t  [default: a majority of the key "
                 "holders]",
    "key_holders": "Devices that hold a part of the key  [default: all]",
    "epochs": "Epochs, P.",
    "iterations": "Local iterations in an epoch, T.",
    "local_epochs": "Passes over a device's own samples in an epoch, in the place of --iterations.",
    "step_size": "Step size, λ  [default: " + ", ".join(
        f"{rule.step_size:g} for {name}" for name, rule in RULES.items()) + "]",
    "batch_size": "Samples in a local step.",
    "rule": "Local update rule.",
    "tolerance": "Stop when ‖w^(p) − w^(p-1)‖₂ is at most this, ε.",
    "schedule": f"How λ changes from epoch to epoch: {USAGE}.",
    "patience": "Stop when the opened loss F(w) has not fallen for so many epochs.",
    "server_rule": "What becomes of the opened mean: Eq. (4), FedAvgM or FedAdam.",
    "server_step_size": "The server-side step size η  [default: " + ", ".join(
        f"{rule.step_size:g} for {name}" for name, rule in SERVER_RULES.items()) + "]",
    "server_momentum": "The server-side momentum β₁.",
    "participation": "Part of the devices that is drawn for each epoch, from the digest of the "
                     "block before.",
    "data": ", ".join(source.usage for source in DATA_SOURCES.values()) + " or module:function.",
    "model": ", ".join(MODELS) + " or module:factory.",
    "init": "Begin with this model: a run's folder or a .npz of it.",
    "clients": "module:function, whose NumPyClients train by their own code, or a Flower app's "
               "module:app.",
    "split": "How the samples are spread over the devices.",
    "alpha": "Of the Dirichlet split; smaller is more unequal.",
    "samples": "At most so many samples a device.",
    "pictures": "Held-out pictures on which boxes are judged (mAP), for data that have any.",
    "cipher": "How updates are sealed.",
    "value_bits": "Bits of a sealed fixed-point value.",
    "loss_clip": "Largest loss in nats that an update can hold.",
    "weight_clip": "Largest change of a parameter that an update can hold; larger updates are "
                   "scaled down.",
    "layer_clips": "A clip for each array of the model, such as 0.5,1, in the place of "
                   "--weight-clip.",
    "gradient_clip": "The same for the gradients of svrg.",
    "norm_bound": "What each device proves its update's norm to be at most: one number, or one for "
                  "each epoch, of which the last holds from then on; none: no proofs.",
    "gradient_norm_bound": "The same for the gradients of svrg, or none.",
    "key_bits": "Bits of the Paillier modulus; below 2048 is a toy.",
    "key": "Who makes the key: a dealer, or the devices jointly.",
    "consensus": "PBFT, or proof of work as in the paper's section 5.",
    "confirmations": "Blocks to wait for under proof of work.",
    "seed": "Of data split, model and batches.",
    "executor": "serial, processes[:COUNT], dask:ADDRESS; auto: processes where they gain time.",
    "deadline_seconds": "How long edge servers wait for updates (virtual time).",
    "minimum_contributors": "Fewest updates in an aggregate  [default: threshold + 1]",
}

CHOICES = {"rule": tuple(RULES), "server_rule": tuple(SERVER_RULES), "split": SPLITS,
           "cipher": CIPHERS, "key": KEYS, "consensus": ("pbft", "pow")}


class NormBoundOption(click.ParamType):  # type: ignore[type-arg]  # generic in newer clicks
    """A positive number, several with commas between them, or "none"."""

    name = "NUMBER,…|none"

    def convert(self, value: Any, _param: Any, _ctx: Any) -> Bounds:
        """Return the bounds of the epochs."""
        try:
            return bounds_from_text(value)
        except UsageError as error:
            self.fail(str(error))


def config_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """An option for each field of `RunConfig` that has a line in `HELP`."""
    for field in reversed(dataclasses.fields(RunConfig)):
        if field.name not in HELP:
            continue
        default = AUTO if field.name == "executor" else getattr(DEFAULTS, field.name)
        if field.name == "threshold":
            default = None
        kind: Any = next((kind for kind in (float, int, str) if kind.__name__ in str(field.type)),
                         None)
        if isinstance(default, tuple):
            kind, default = NormBoundOption(), bounds_to_text(default)
        if field.name in CHOICES:
            kind = click.Choice(CHOICES[field.name])
        command = click.option(
            f"--{field.name.replace('_', '-')}", field.name, type=kind, default=default,
            show_default=default is not None, help=HELP[field.name],
        )(command)
    return command


@click.command()
@config_options
@click.option("--preset", type=click.Choice(list(PRESETS)),
              help="paper: section 5's ten devices, P = 1, T = 1500, λ = 0.5 and Eq. (3) as "
                   "printed; options that are given besides win.")
@click.option("--deterministic", is_flag=True,
              help="Repeat byte for byte: all comes from --seed, and the keys are NOT secret.")
@click.option("--processes", is_flag=True,
              help="Each device and edge server in an operating-system process of its own, over "
                   "sockets and in real time.")
@click.option("--restart/--no-restart", default=True, show_default=True,
              help="With --processes: start a process that died again, from its store.")
@click.option("--shared-work/--no-shared-work", default=True, show_default=True,
              help="Do work once that several nodes of this process would do alike, and charge it "
                   "to each node's virtual clock. The ledger is the same without.")
@click.option("--keep-models", is_flag=True,
              help="Keep the model after each epoch, too (models/ in the run folder).")
@click.option("--baseline/--no-baseline", default=True, show_default=True,
              help="Train each device alone, too, once the result is written.")
@click.option("--out", type=NamedPath(), default=Path("runs/latest"),
              show_default=True, help="Folder of the run.")
@click.option("--force", is_flag=True, help="Replace a run that is there already.")
@click.option("--json", "as_json", is_flag=True, help="Print the history as JSON.")
@click.pass_context
def run(
    context: click.Context, /, out: Path, force: bool, as_json: bool, preset: str | None,
    processes: bool, restart: bool, **options: Any,
) -> None:  # fmt: skip
    """Train a model together: seal, agree, open, for real.

    Devices train on their own data and seal their updates with threshold Paillier; edge servers
    verify and add up the ciphertexts in a contract and agree on each block; the devices open the
    sum together. The run folder holds the ledger, the history, the model, the trace.
    """
    values = {**options, **_preset(context, preset)}
    values["threshold"] = values["threshold"] or 0
    if options["local_epochs"] is not None:
        given = context.get_parameter_source("iterations")
        if given is not click.core.ParameterSource.DEFAULT:
            raise UsageError("--local-epochs and --iterations contradict each other: give one")
    several = not processes and values["clients"] is None  # clients may live in this process only
    values["executor"] = choose_executor(
        values["executor"], worthwhile=several and values["key_bits"] >= WORTHWHILE_BITS)
    config = RunConfig(**{**values, "data": absolute_data(values["data"]),
                           "init": absolute_init(values["init"])})
    check_executor(config.executor)
    if processes:
        check_playable(config)
    folder = RunFolder.create(out, config, force)
    people = people_of(config)  # broken data show before anything is written or replaced
    drive(config, folder, as_json, people, processes, restart)


def absolute_init(init: str | None) -> str | None:
    """``--init`` as an absolute path, so that a run can be resumed from anywhere."""
    return None if init is None else str(Path(init).expanduser().absolute())


def _preset(context: click.Context, name: str | None) -> dict[str, Any]:
    """The preset's values, without those that the command line gives itself."""
    return {key: value for key, value in PRESETS.get(name or "", {}).items()
            if context.get_parameter_source(key) is click.core.ParameterSource.DEFAULT}


def drive(
    config: RunConfig, folder: RunFolder, as_json: bool, people: Participants | None = None,
    processes: bool = False, restart: bool = True,
) -> None:
    """Complete a run in ``folder``, showing progress on standard error.

    ``people`` are loaded from the config's data where they are None; with ``processes``, each node
    has a process of its own, which is started again when it dies unless ``restart`` is False.
    """
    opened: Callable[..., AbstractContextManager[Run | ProcessRun]] = (
        opened_processes if processes else opened_run)
    if config.deterministic:
        click.echo("Deterministic: every key follows from the seed, so nothing here is secret.",
                   err=True)
    with RunProgress(config) as progress, opened(
            config, folder, listen=progress.hear, participants=people,
            **({"restart": restart} if processes else {})) as run:
        history = run.complete()
    write_report(folder.path)
    print_outcome_of(history, folder.path, as_json)


def print_outcome_of(history: dict[str, Any], folder: Path, as_json: bool) -> None:
    """A finished run's history, as JSON or as tables."""
    if as_json:
        click.echo(json.dumps(finite(history)))
    else:
        print_history(history, folder)
