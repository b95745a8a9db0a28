"""Mutations of `bdn.pbft`: each rule deleted or bent, one at a time, and the tests that miss it.

A mutation names a function and a small edit of its syntax tree, so neither the file that a function
stands in nor the wording around the edit matters. The whole package is loaded afresh with that one
change (nothing else of the process sees it), and the named tests run against it: at least one must
fail. `test_pbft_mutations.py` runs a sample in the suite; all of them run by::

    python tests/pbft/mutations.py                  every mutation, and the time
    python tests/pbft/mutations.py --find RULE …    which tests notice these mutations
"""

import ast
import importlib
import importlib.util
import inspect
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import bdn.pbft

SOURCE = Path(bdn.pbft.__file__).parent
HERE = Path(__file__).parent

Edit = Callable[[ast.AST], None]
"""Changes the syntax tree of one function in place; raises `Moved` if the place is not there."""


class Moved(Exception):  # noqa: N818 - it reads as a sentence
    """The function, or the place in it that a mutation is about, does not exist (any more)."""


@dataclass(frozen=True)
class Mutation:
    """``edit`` of ``function`` breaks ``rule``, and one of ``tests`` notices.

    Attributes:
        rule: the rule's name in docs/pbft.md, and words that tell its mutations apart.
        function: the name of a function, or ``Class.method``, that exists once in `bdn.pbft`.
        edit: the change.
        tests: ``file:test`` names, of which at least one fails under the change.
        equivalent: why no test can notice, in a sentence; such a mutation names no tests.
    """

    rule: str
    function: str
    edit: Edit
    tests: tuple[str, ...] = ()
    equivalent: str = ""


# --- edits ----------------------------------------------------------------------------------------


def _pick(found: list[Any], nth: int | None, what: str) -> Any:
    """Return the ``nth`` of ``found`` (from 1), or the only one."""
    if nth is None and len(found) != 1:
        raise Moved(f"{len(found)} places with {what}; exactly one is expected")
    if nth is not None and len(found) < nth:
        raise Moved(f"{len(found)} places with {what}; number {nth} is wanted")
    return found[(nth or 1) - 1]


def _in_order(tree: ast.AST, *kinds: type[ast.AST]) -> list[Any]:
    """Return the nodes of these kinds in the order in which a reader meets them."""
    found = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    return sorted(found, key=lambda node: (node.lineno, node.col_offset))  # type: ignore[attr-defined]


def _mentions(node: ast.AST) -> set[str]:
    """Return every name and attribute inside."""
    return {part.id if isinstance(part, ast.Name) else part.attr for part in ast.walk(node)
            if isinstance(part, (ast.Name, ast.Attribute))}


def _called(statement: ast.AST) -> str:
    """Return the name that an expression statement calls, or ""."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        function = statement.value.func
        if isinstance(function, ast.Name):
            return function.id
        if isinstance(function, ast.Attribute):
            return function.attr
    return ""


def _block_of(tree: ast.AST, statement: ast.stmt) -> list[ast.stmt]:
    """Return the list of statements that holds ``statement``."""
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list) and statement in block:
                return block
    raise Moved("the statement stands in no block")


def _replace(tree: ast.AST, statement: ast.stmt, code: str) -> None:
    block = _block_of(tree, statement)
    at = block.index(statement)
    block[at:at + 1] = ast.parse(code).body


def without(call: str, nth: int | None = None) -> Edit:
    """Delete the statement that calls a function or method named ``call``."""

    def edit(tree: ast.AST) -> None:
        found = [s for s in _in_order(tree, ast.Expr) if _called(s) == call]
        _replace(tree, _pick(found, nth, f"a call of {call}"), "pass")

    return edit


def postponed(call: str, nth: int | None = None) -> Edit:
    """Let the statement that calls ``call`` come after the statement that follows it."""

    def edit(tree: ast.AST) -> None:
        found = [s for s in _in_order(tree, ast.Expr) if _called(s) == call]
        statement = _pick(found, nth, f"a call of {call}")
        block = _block_of(tree, statement)
        at = block.index(statement)
        block[at], block[at + 1] = block[at + 1], block[at]

    return edit


def unassigned(*names: str, nth: int | None = None) -> Edit:
    """Delete the assignment to a target that mentions all of ``names``."""

    def edit(tree: ast.AST) -> None:
        found = []
        for node in _in_order(tree, ast.Assign, ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if set(names) <= set().union(*map(_mentions, targets)):
                found.append(node)
        _replace(tree, _pick(found, nth, f"an assignment to {names}"), "pass")

    return edit


def _condition(value: str, names: tuple[str, ...], nth: int | None) -> Edit:
    def edit(tree: ast.AST) -> None:
        found = [node for node in _in_order(tree, ast.If, ast.While)
                 if set(names) <= _mentions(node.test)]
        _pick(found, nth, f"a condition about {names}").test = _expression(value)

    return edit


def never(*names: str, nth: int | None = None) -> Edit:
    """Make the condition of the ``if`` that mentions all of ``names`` false."""
    return _condition("False", names, nth)


def always(*names: str, nth: int | None = None) -> Edit:
    """Make the condition of the ``if`` or ``while`` that mentions all of ``names`` true."""
    return _condition("True", names, nth)


def then(code: str, *names: str, nth: int | None = None) -> Edit:
    """Replace the body of the ``if`` whose condition mentions all of ``names``."""

    def edit(tree: ast.AST) -> None:
        found = [node for node in _in_order(tree, ast.If) if set(names) <= _mentions(node.test)]
        _pick(found, nth, f"a condition about {names}").body = ast.parse(code).body

    return edit


def swap(old: str, new: str, nth: int | None = None) -> Edit:
    """Replace the expression ``old`` by ``new``; how either is laid out does not matter."""
    wanted = ast.dump(_expression(old))

    def edit(tree: ast.AST) -> None:
        found = []
        for parent in ast.walk(tree):
            for name, value in ast.iter_fields(parent):
                if isinstance(value, ast.expr):
                    found += [(value, parent, name, None)]
                elif isinstance(value, list):
                    found += [(part, parent, name, i) for i, part in enumerate(value)
                              if isinstance(part, ast.expr)]
        same = [place for place in found if ast.dump(place[0]) == wanted]
        same.sort(key=lambda place: (place[0].lineno, place[0].col_offset))
        _, parent, name, i = _pick(same, nth, f"the expression {old}")
        if i is None:
            setattr(parent, name, _expression(new))
        else:
            getattr(parent, name)[i] = _expression(new)

    return edit


def first(code: str) -> Edit:
    """Begin the function with one more statement."""

    def edit(tree: ast.AST) -> None:
        assert isinstance(tree, ast.FunctionDef)
        has_docstring = ast.get_docstring(tree) is not None
        tree.body[has_docstring:has_docstring] = ast.parse(code).body

    return edit


def _expression(code: str) -> ast.expr:
    return ast.parse(code, mode="eval").body


# --- loading a mutated package --------------------------------------------------------------------


@cache
def _functions() -> dict[str, list[str]]:
    """Return the modules that define each function, by name or ``Class.method``."""
    places: dict[str, list[str]] = {}
    for path in sorted(SOURCE.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                places.setdefault(node.name, []).append(path.stem)
            elif isinstance(node, ast.ClassDef):
                for part in node.body:
                    if isinstance(part, ast.FunctionDef):
                        places.setdefault(f"{node.name}.{part.name}", []).append(path.stem)
    return places


def mutated(mutation: Mutation) -> tuple[str, ast.Module]:
    """Return the module that holds the function, and its syntax tree after the edit."""
    modules = _functions().get(mutation.function, [])
    module = _pick(modules, None, f"a function {mutation.function}")
    tree = ast.parse((SOURCE / f"{module}.py").read_text(encoding="utf-8"))
    *owner, name = mutation.function.split(".")
    scope: Any = tree
    for part in owner:
        scope = next(node for node in scope.body
                     if isinstance(node, ast.ClassDef) and node.name == part)
    function = next(node for node in scope.body
                    if isinstance(node, ast.FunctionDef) and node.name == name)
    before = ast.dump(function)
    mutation.edit(function)
    if ast.dump(function) == before:
        raise Moved("the edit changes nothing")
    return module, ast.fix_missing_locations(tree)


class _MutatedLoader(SourceFileLoader):
    """Loads one module from a syntax tree, past every cache."""

    def __init__(self, name: str, path: str, tree: ast.Module) -> None:
        super().__init__(name, path)
        self._tree = tree

    def get_code(self, fullname: str) -> Any:
        return compile(self._tree, self.path, "exec")


class _Finder(MetaPathFinder):
    def __init__(self, module: str, tree: ast.Module) -> None:
        self._name, self._tree = f"bdn.pbft.{module}", tree
        self._path = str(SOURCE / f"{module}.py")

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        loader = _MutatedLoader(fullname, self._path, self._tree)
        return importlib.util.spec_from_file_location(fullname, self._path, loader=loader)


def _is_ours(name: str) -> bool:
    return name == "bdn.pbft" or name.startswith(("bdn.pbft.", "_mutated_"))


@contextmanager
def package(mutation: Mutation | None, files: set[str]) -> Iterator[dict[str, ModuleType]]:
    """Load the test ``files`` over a fresh copy of `bdn.pbft` with the mutation inside."""
    finder = None if mutation is None else _Finder(*mutated(mutation))
    aside = {name: module for name, module in sys.modules.items() if _is_ours(name)}
    for name in aside:
        del sys.modules[name]
    if finder is not None:
        sys.meta_path.insert(0, finder)
    parent = sys.modules["bdn"]
    attribute = parent.pbft
    try:
        importlib.import_module("bdn.pbft")
        yield {name: _load(name) for name in sorted({"conftest", *files})}
    finally:
        if finder is not None:
            sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if _is_ours(name)]:
            del sys.modules[name]
        sys.modules.update(aside)
        parent.pbft = attribute


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"_mutated_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run_test(modules: dict[str, ModuleType], test: str) -> None:
    """Call one test function with a ``world`` of the loaded conftest."""
    file, function = test.split(":")
    conftest = modules["conftest"]

    def world(n: int = 4, make_application: Any = None, **options: Any) -> Any:
        return conftest.World(n, options, make_application)

    target = getattr(modules[file], function)
    target(**({"world": world} if "world" in inspect.signature(target).parameters else {}))


def notice(mutation: Mutation | None, tests: tuple[str, ...], every: bool = False) -> list[str]:
    """Return the first of ``tests`` that fails under the mutation, or every one of them."""
    failed = []
    with package(mutation, {test.split(":")[0] for test in tests}) as modules:
        for test in tests:
            try:
                run_test(modules, test)
            except (Exception, pytest.fail.Exception):  # noqa: BLE001 - it has noticed
                failed.append(test)
                if not every:
                    break
    return failed


# --- the list -------------------------------------------------------------------------------------


NORMAL, VIEW, CHECK, BACK, BOUNDS, CLIENT, LIVE, SAFE = (
    f"test_pbft_{name}" for name in (
        "normal", "view_change", "checkpoint", "recovery", "bounds", "client", "liveness",
        "safeguards"))


def m(rule: str, function: str, edit: Edit, file: str, *tests: str) -> Mutation:
    return Mutation(rule, function, edit, tuple(f"{file}:{test}" for test in tests))


MUTATIONS = [
    # 1: PRE-PREPARE
    m("1a signature", "on_pre_prepare", without("verify_message"),
      NORMAL, "test_a_pre_prepare_needs_the_primarys_signature"),
    m("1b digest", "on_pre_prepare", never("application"),
      NORMAL, "test_a_pre_prepare_needs_its_payloads_digest"),
    m("1c no other digest", "on_pre_prepare", never("pre_prepare", "digest"),
      NORMAL, "test_a_second_digest_at_one_place_is_refused"),
    m("1d above h", "is_for_later",
      swap("core.low < message.sequence <= core.high + core.cluster.window",
           "message.sequence <= core.high + core.cluster.window"),
      NORMAL, "test_sequence_numbers_outside_the_window_are_refused"),
    m("1d up to H", "is_for_later", swap("message.sequence > core.high", "False"),
      NORMAL, "test_sequence_numbers_outside_the_window_are_refused"),
    m("1d one window more waits", "is_for_later",
      swap("core.low < message.sequence <= core.high + core.cluster.window",
           "core.low < message.sequence"),
      LIVE, "test_what_lies_one_window_above_waits_and_what_lies_further_is_refused"),
    m("1d the primary too", "propose_ready", swap("sequence > core.high", "False"),
      CHECK, "test_the_window_stops_a_primary_until_the_checkpoint"),
    m("1e valid payload", "is_acceptable", without("accepts"),
      NORMAL, "test_an_invalid_payload_gets_no_prepare"),
    m("1e each request once", "_decode_batch", never("batch"),
      NORMAL, "test_an_invalid_payload_gets_no_prepare"),
    m("1f null only from O", "on_pre_prepare", swap("message.payload == NULL_PAYLOAD", "False"),
      NORMAL, "test_the_null_request_comes_from_o_alone"),
    m("1g not one's own view", "on_pre_prepare", never("is_primary"),
      NORMAL, "test_the_primary_takes_no_proposal_of_its_own_view_from_elsewhere"),
    # 2: prepared, committed, executed
    m("2a quorum of PREPAREs", "Slot.is_prepared", swap("q - 1", "q - 2"),
      NORMAL, "test_prepared_needs_q_minus_1_matching_prepares_of_distinct_backups"),
    m("2a payload and PRE-PREPARE", "Slot.is_prepared", swap("self.voted", "True"),
      NORMAL, "test_nothing_is_prepared_without_its_payload"),
    m("2b quorum of COMMITs", "Slot.is_committed", swap("q", "q - 1"),
      NORMAL, "test_two_commits_of_four_are_too_few"),
    m("2b prepared first", "Slot.is_committed", swap("self.committing", "True"),
      NORMAL, "test_committed_needs_prepared_and_q_commits"),
    m("2c sealed entries", "verify_decided", without("_refuse_repeats"),
      CHECK, "test_a_fetched_decision_proves_itself"),
    m("2c sealed entries' signatures", "verify_decided", without("verify"),
      CHECK, "test_a_fetched_decision_proves_itself"),
    m("2c sealed entries' bodies", "_refuse_wrong_body", never("application"),
      CHECK, "test_a_fetched_decision_proves_itself"),
    m("2d backups only", "on_prepare", never("primary"),
      NORMAL, "test_a_primarys_prepare_counts_for_nothing"),
    m("2e matching PREPAREs", "on_prepare", never("digest"),
      NORMAL, "test_prepares_and_commits_for_another_digest_do_not_count"),
    m("2f matching COMMITs", "on_commit", never("digest"),
      NORMAL, "test_prepares_and_commits_for_another_digest_do_not_count"),
    m("2e early PREPAREs", "Slot.propose", swap("v.digest == proposal.digest", "True", 1),
      NORMAL, "test_prepares_and_commits_for_another_digest_do_not_count"),
    m("2f early COMMITs", "Slot.propose", swap("v.digest == proposal.digest", "True", 2),
      NORMAL, "test_prepares_and_commits_for_another_digest_do_not_count"),
    m("2 signed PREPAREs", "on_prepare", without("verify_message"),
      NORMAL, "test_unsigned_votes_never_count"),
    m("2 signed COMMITs", "on_commit", without("verify_message"),
      NORMAL, "test_unsigned_votes_never_count"),
    m("2g in order", "execute_ready",
      swap("core.log.get(core.executed + 1)",
           "next((s for s in core.log if s.seal and s.sequence > core.executed), None)"),
      NORMAL, "test_execution_is_in_order_and_early_entries_wait"),
    # 3: general n
    m("3 quorum", "Cluster.q", swap("quorum(self.n)", "2 * self.f + 1"),
      NORMAL, "test_one_replica_of_five_cannot_be_missing_twice"),
    m("3 weak certificate", "Cluster.weak", swap("self.f + 1", "self.f"),
      CLIENT, "test_f_plus_1_equal_replies_are_believed_and_f_are_not"),
    # 4: views
    m("4a past views", "is_for_later", swap("message.view != core.view",
                                            "message.view > core.view"),
      NORMAL, "test_votes_of_a_past_view_are_refused"),
    m("4a votes stay behind", "Slot.leave_view", unassigned("prepares", "commits"),
      NORMAL, "test_votes_do_not_carry_over_into_the_next_view"),
    m("4b view change", "is_for_later", swap("not core.active", "False"),
      NORMAL, "test_during_a_view_change_no_vote_is_taken"),
    # 5: checkpoints
    m("5a quorum", "count_votes", swap("core.q", "core.cluster.weak", 1),
      CHECK, "test_fewer_than_q_checkpoints_cut_nothing"),
    m("5a as a whole in a VIEW-CHANGE", "on_view_change", without("take_certificate"),
      LIVE, "test_a_certificate_in_a_view_change_counts_as_a_whole"),
    m("5a as a whole in a NEW-VIEW", "enter", without("take_certificate"),
      LIVE, "test_a_checkpoint_that_a_new_view_proves_is_taken_from_it"),
    m("5a as a whole in a STATE", "_take_checkpoint", without("take_certificate"),
      LIVE, "test_a_certificate_in_a_state_counts_as_a_whole"),
    m("5a matching", "count_votes", swap("votes[i].digest == candidate.digest", "True"),
      CHECK, "test_checkpoints_that_disagree_make_nothing_stable"),
    m("5a signed", "on_checkpoint", without("verify_message"),
      BOUNDS, "test_forged_votes_do_not_take_the_place_of_real_ones"),
    m("5b last replies", "checkpoint_digest",
      swap("encode_as(Replies, snapshot.replies)", "b''"),
      CHECK, "test_a_checkpoint_covers_the_last_replies"),
    m("5b replies restored", "finish_restore", unassigned("replies"),
      CHECK, "test_a_replica_behind_a_checkpoint_fetches_the_state"),
    m("5c cut", "adopt", without("cut"),
      CHECK, "test_a_stable_checkpoint_cuts_the_log_and_moves_the_window"),
    m("5c window", "adopt", without("set_low"),
      CHECK, "test_a_stable_checkpoint_cuts_the_log_and_moves_the_window"),
    m("5d fetched state", "_take_checkpoint", never("checkpoint_digest"),
      CHECK, "test_a_fetched_state_proves_itself"),
    m("5d proof", "_take_checkpoint",
      swap("verify_stable(core.cluster, core.certificate_signing, message.sequence, proof)",
           "message.digest"),
      CHECK, "test_a_fetched_state_proves_itself"),
    m("5e state transfer", "_fetch_ahead", never("stable"),
      CHECK, "test_a_replica_behind_a_checkpoint_fetches_the_state"),
    m("5e those who certified answer", "_answer_checkpoint", always("own"),
      LIVE, "test_those_who_certified_a_checkpoint_give_its_state"),
    m("5e holders in turn", "fetch_checkpoint", without("difference_update"),
      LIVE, "test_holders_are_asked_again_when_all_were_asked"),
    m("5f no judgement meanwhile", "is_acceptable", never("restoring"),
      CHECK, "test_an_application_that_restores_by_itself_is_waited_for"),
    m("5g no execution meanwhile", "execute_ready", always("restoring"),
      CHECK, "test_an_application_that_restores_by_itself_is_waited_for"),
    # 6: VIEW-CHANGE
    m("6 signature", "verify_view_change", without("verify_message"),
      VIEW, "test_a_view_change_needs_its_senders_signature"),
    m("6a checkpoint proof", "verify_view_change", without("verify_stable"),
      VIEW, "test_a_view_change_needs_a_proof_of_its_checkpoint"),
    m("6a proof of one state", "verify_stable", swap("vote.digest != proof[0].digest", "False"),
      VIEW, "test_a_view_change_needs_a_proof_of_its_checkpoint"),
    m("6b above h", "verify_view_change",
      swap("last < proposal.sequence <= message.stable + cluster.window",
           "proposal.sequence <= message.stable + cluster.window"),
      VIEW, "test_p_entries_lie_above_h_within_the_window_and_once"),
    m("6b within the window", "verify_view_change",
      swap("last < proposal.sequence <= message.stable + cluster.window",
           "last < proposal.sequence"),
      VIEW, "test_p_entries_lie_above_h_within_the_window_and_once"),
    m("6c below the target", "verify_view_change", never("view"),
      VIEW, "test_p_entries_are_of_views_below_the_target"),
    m("6d P verified", "verify_view_change", without("verify_prepared"),
      VIEW, "test_p_entries_are_fully_verified"),
    m("6d proposal signed", "verify_prepared", without("verify_message", 1),
      VIEW, "test_p_entries_are_fully_verified"),
    m("6d votes signed", "verify_prepared", without("verify_message", 2),
      VIEW, "test_p_entries_are_fully_verified"),
    m("6d quorum", "verify_prepared", without("_refuse_repeats"),
      VIEW, "test_p_entries_are_fully_verified"),
    m("6d matching", "verify_prepared", never("_point"),
      VIEW, "test_p_entries_are_fully_verified"),
    m("6d backups", "verify_prepared", never("primary"),
      VIEW, "test_p_entries_are_fully_verified"),
    m("6e no masking", "on_view_change", postponed("verify_view_change"),
      VIEW, "test_one_bad_view_change_does_not_mask_a_good_one"),
    # 7: NEW-VIEW
    m("7 signature", "verify_new_view", without("verify_message", 1),
      VIEW, "test_a_new_view_needs_a_quorum_of_distinct_valid_view_changes"),
    m("7a quorum", "verify_new_view", swap("len(replicas) < core.cluster.q", "False"),
      VIEW, "test_a_new_view_needs_a_quorum_of_distinct_valid_view_changes"),
    m("7a distinct", "verify_new_view", swap("replicas != sorted(set(replicas))", "False"),
      VIEW, "test_a_new_view_needs_a_quorum_of_distinct_valid_view_changes"),
    m("7a for this view", "verify_new_view", never("part", "view"),
      VIEW, "test_a_new_view_needs_a_quorum_of_distinct_valid_view_changes"),
    m("7a verified", "verify_new_view", without("verify_view_change"),
      VIEW, "test_a_new_view_needs_a_quorum_of_distinct_valid_view_changes"),
    m("7a primary waits for q", "consider", swap("len(votes) >= core.cluster.q", "True"),
      BACK, "test_every_vote_is_written_before_it_is_sent"),
    m("7b O recomputed", "verify_new_view", never("claimed"),
      VIEW, "test_a_new_view_must_propose_exactly_what_follows"),
    m("7b O signed", "verify_new_view", without("verify_message", 2),
      VIEW, "test_a_new_view_must_propose_exactly_what_follows"),
    m("7b highest view", "compute_order", swap("entry.pre_prepare.view > known.view",
                                               "entry.pre_prepare.view < known.view"),
      VIEW, "test_o_takes_the_highest_views_digest_and_null_elsewhere"),
    m("7b min-s", "compute_order", swap("message.stable > best.stable",
                                        "message.stable < best.stable"),
      VIEW, "test_o_takes_the_highest_views_digest_and_null_elsewhere"),
    m("7b null for gaps", "compute_order",
      swap("range(best.stable + 1, last + 1)",
           "[s for s in range(best.stable + 1, last + 1) if s in highest]"),
      VIEW, "test_o_takes_the_highest_views_digest_and_null_elsewhere"),
    m("7c without one's own VIEW-CHANGE", "on_new_view",
      swap("message.view < core.view", "message.view != core.view"),
      VIEW, "test_a_replica_that_sent_no_view_change_accepts_a_new_view"),
    m("7d early messages wait", "hold_back", unassigned("buffer"),
      VIEW, "test_messages_of_a_view_wait_for_its_new_view"),
    m("7d early messages verified", "hold_back", without("verify_message"),
      BOUNDS, "test_forged_votes_do_not_take_the_place_of_real_ones"),
    m("7e executed entries again", "is_acceptable", then("return False", "executed", nth=1),
      VIEW, "test_an_executed_entry_runs_the_phases_again_but_not_the_execution"),
    m("7f P survives views", "Slot.leave_view", first("self.certificate = None"),
      VIEW, "test_what_was_prepared_survives_a_failed_view_change"),
    m("7g bodies are fetched", "enter", without("fetch_body"),
      VIEW, "test_a_missing_body_is_fetched"),
    # 8: timers
    m("8a starts", "_mind_request_timer", never("due", "progress"),
      NORMAL, "test_a_backup_relays_a_request_to_the_primary_and_starts_its_timer"),
    m("8a not anew at each request", "_mind_request_timer",
      swap("core.progress or not core.request_timer", "True"),
      VIEW, "test_the_request_timer_runs_while_a_request_waits_and_stops_after"),
    m("8a anew after progress", "_mind_request_timer",
      swap("core.progress or not core.request_timer", "not core.request_timer"),
      VIEW, "test_the_request_timer_runs_while_a_request_waits_and_stops_after"),
    m("8a own progress only", "_execute", swap("core.pending.pop(key, None) is not None",
                                               "core.pending.pop(key, 1)"),
      VIEW, "test_executing_what_nobody_waits_for_does_not_restart_the_timer"),
    m("8a stops", "_mind_request_timer", swap("core.request_timer and not due", "False"),
      VIEW, "test_the_request_timer_runs_while_a_request_waits_and_stops_after"),
    m("8a backups only", "_mind_request_timer", swap("not core.is_primary", "True"),
      VIEW, "test_the_primary_runs_no_request_timer"),
    m("8b suspects", "Replica._time_out", without("start", 1),
      VIEW, "test_the_request_timer_suspects_the_primary"),
    m("8c after a quorum", "consider", swap("reached >= core.cluster.q", "True"),
      VIEW, "test_the_view_timer_starts_only_after_a_quorum"),
    m("8c later views count", "consider", swap("m.view >= core.view", "m.view == core.view"),
      VIEW, "test_replicas_spread_over_views_do_not_wait_for_one_another"),
    m("8d next view", "Replica._time_out", without("start", 2),
      VIEW, "test_timeouts_double_with_each_failed_view_and_are_short_after_progress"),
    m("8d doubles", "Core.doubled", swap("milliseconds << min(times, MAX_DOUBLINGS)",
                                         "milliseconds"),
      VIEW, "test_timeouts_double_with_each_failed_view_and_are_short_after_progress"),
    m("8e short after progress", "_execute", unassigned("failures"),
      VIEW, "test_timeouts_double_with_each_failed_view_and_are_short_after_progress"),
    m("8f join", "consider", swap("len(higher) >= core.cluster.weak", "False"),
      VIEW, "test_f_plus_1_higher_views_are_joined_at_the_smallest"),
    m("8f f are not enough", "consider", swap("len(higher) >= core.cluster.weak", "higher"),
      VIEW, "test_a_single_faulty_replica_cannot_force_a_view_change"),
    m("8f smallest", "consider", swap("min(higher)", "max(higher)", 2),
      VIEW, "test_f_plus_1_higher_views_are_joined_at_the_smallest"),
    # 9: requests
    m("9 signed", "on_request", without("verify_message"),
      NORMAL, "test_an_unsigned_request_and_a_stranger_are_refused"),
    m("9a to all", "Client.timeout", swap("Broadcast(encode_message(self._request))",
                                          "Send(0, encode_message(self._request))"),
      CLIENT, "test_an_unanswered_request_goes_to_everybody"),
    m("9b cached reply", "on_request", swap("request.timestamp == last", "False"),
      NORMAL, "test_a_repeated_request_gets_the_cached_reply_and_no_second_execution"),
    m("9b older", "on_request", swap("request.timestamp < last", "False"),
      NORMAL, "test_a_repeated_request_gets_the_cached_reply_and_no_second_execution"),
    m("9c relay", "relay", without("send"),
      NORMAL, "test_a_backup_relays_a_request_to_the_primary_and_starts_its_timer"),
    m("9d once", "AppendLog.execute", always("_last"),
      NORMAL, "test_a_request_ordered_twice_is_executed_once"),
    m("9e equal replies", "Client._take", swap("r.result == message.result", "True"),
      CLIENT, "test_f_plus_1_equal_replies_are_believed_and_f_are_not"),
    m("9e signed replies", "Client._take", without("verify_message"),
      CLIENT, "test_forged_foreign_and_late_replies_count_for_nothing"),
    # 10: journal and retransmission
    m("10b proposals written", "propose_ready", without("persist"),
      BACK, "test_a_restarted_primary_never_uses_a_number_twice"),
    m("10c PREPAREs written", "vote", without("persist"),
      BACK, "test_a_restarted_backup_never_contradicts_its_prepare"),
    m("10d P written", "become_prepared", without("persist"),
      BACK, "test_p_survives_a_restart"),
    m("10d written first", "become_prepared", postponed("persist"),
      BACK, "test_every_vote_is_written_before_it_is_sent"),
    m("10e views written", "start", without("persist"),
      BACK, "test_a_given_up_view_stays_given_up"),
    m("10e views kept", "compact",
      swap("i == last_view[type(record)]", "isinstance(record, NewView)"),
      BACK, "test_a_compacted_journal_still_gives_up_the_view"),
    m("10 no past state is signed", "make", never("height"),
      BACK, "test_a_durable_application_that_is_ahead_signs_no_past_state"),
    m("5f restored beyond the checkpoint", "Replica._restored",
      swap("core.restoring[0] <= sequence <= core.application.height()",
           "core.restoring[0] == sequence"),
      CHECK, "test_an_application_that_restored_more_than_the_checkpoint_is_done"),
    m("10f votes again", "on_status", without("_send_votes"),
      CHECK, "test_a_status_brings_back_the_votes_that_were_lost"),
    m("10f views again", "on_status", without("_send_view"),
      CHECK, "test_a_replica_in_an_old_view_is_brought_to_the_new_one"),
    m("10f checkpoints again", "on_status", without("_send_checkpoints"),
      CHECK, "test_the_window_stops_a_primary_until_the_checkpoint"),
    m("10f decisions fetched", "_fetch_ahead", without("send", 2),
      CHECK, "test_a_replica_that_missed_decisions_fetches_them_with_their_seals"),
    m("10g carried payloads", "is_acceptable", swap("carried", "False"),
      VIEW, "test_a_carried_payload_is_not_judged_by_clock_or_proposer"),
    # 11: bounded memory (ours)
    m("11a highest VIEW-CHANGE", "on_view_change", never("known"),
      VIEW, "test_only_the_highest_view_change_of_each_sender_is_kept"),
    m("11b far CHECKPOINTs", "on_checkpoint", swap("message.sequence <= core.high", "True"),
      BOUNDS, "test_a_flooding_peer_fills_bounded_memory"),
    m("11c answers", "on_status", swap("message.replica in core.answered", "False"),
      CHECK, "test_one_status_a_period_is_answered"),
    m("11c served", "on_fetch", never("cost"),
      CHECK, "test_one_status_a_period_is_answered"),
    m("11c served anew", "on_status_timer", without("clear", 1),
      LIVE, "test_every_period_a_replica_may_ask_anew"),
    m("11d held-back votes", "hold_back", never("held", "window"),
      BOUNDS, "test_a_flooding_peer_fills_bounded_memory"),
    m("11e bodies", "Slot.keep", never("MAX_BODIES"),
      BOUNDS, "test_bodies_of_a_slot_are_bounded"),
    m("11f requests", "_refuse_crowding", never("PENDING_PER_CLIENT"),
      NORMAL, "test_a_client_cannot_fill_a_replicas_memory"),
    m("11d held-back bytes", "hold_back", never("max_payload"),
      BOUNDS, "test_payloads_and_requests_that_wait_are_bounded_in_bytes"),
    m("11f waiting bytes", "_refuse_crowding", never("max_payload"),
      BOUNDS, "test_payloads_and_requests_that_wait_are_bounded_in_bytes"),
    m("11g payloads", "refuse_long", never("max_payload"),
      BOUNDS, "test_payloads_and_requests_that_wait_are_bounded_in_bytes"),
    m("11h old statuses", "on_status", never("_has_come_further"),
      LIVE, "test_an_old_status_sent_again_uses_up_no_answer"),
    m("11h not for ever", "on_status_timer", swap("age < STATUS_MEMORY", "True"),
      LIVE, "test_a_replica_that_lost_its_disk_is_helped_again"),
    m("11h repeated fetches", "on_fetch", swap("asked in served", "False"),
      LIVE, "test_a_fetch_sent_again_uses_up_no_answer"),
    m("11h fetches of the past", "on_fetch", swap("message.sequence <= known.executed", "False"),
      LIVE, "test_a_fetch_sent_again_uses_up_no_answer"),
    # sequential ledgers
    m("12a defer", "is_acceptable", never("sequential"),
      NORMAL, "test_sequential_defers_until_the_predecessor_is_executed"),
    m("12b one in flight", "propose_ready",
      swap("1 if core.cluster.sequential else core.cluster.pipeline", "core.cluster.pipeline"),
      NORMAL, "test_sequential_has_one_proposal_in_flight"),
    # details of the rules above
    m("7a view changes trusted by their sender", "verify_new_view",
      swap("core.view_changes.get(part.replica) != part",
           "part.replica not in core.view_changes"),
      SAFE, "test_a_view_change_shown_by_a_primary_is_not_believed_for_its_senders_name"),
    m("1 one digest at a number", "propose_ready", unassigned("next_sequence"),
      NORMAL, "test_requests_of_many_clients_share_a_batch"),
    m("10e the view given up survives compaction", "compact",
      swap("i == last_view[type(record)]", "False"),
      SAFE, "test_a_view_given_up_stays_given_up_in_a_compacted_journal"),
    m("9e replies to this request", "Client._take",
      swap("message.timestamp != self._request.timestamp", "False"),
      SAFE, "test_replies_to_an_older_request_are_not_believed"),
    m("9e replies forgotten at the next request", "Client.submit", without("clear"),
      NORMAL, "test_four_replicas_execute_a_request_in_order_and_the_client_accepts_it"),
    m("1e signed requests in a batch", "AppendLog.accepts", without("verify"),
      NORMAL, "test_an_invalid_payload_gets_no_prepare"),
    m("1e known clients in a batch", "AppendLog.accepts", without("check_request"),
      SAFE, "test_a_batch_holds_requests_of_known_clients_under_their_own_keys"),
    m("11c answered in this period only", "on_status_timer", without("clear", 2),
      CHECK, "test_a_replica_behind_a_checkpoint_fetches_the_state"),
    m("8b views never go back", "start", never("target"),
      SAFE, "test_no_suspicion_leads_back"),
    m("8d failures are counted", "start", unassigned("failures"),
      VIEW, "test_a_silent_primary_is_replaced_and_the_request_executed"),
    Mutation("6 P above the checkpoint", "start", swap("slot.sequence > core.low", "True"),
      equivalent="A stable checkpoint has cut the log, so no slot lies at or below it."),
    m("8c own VIEW-CHANGE is considered", "start", without("consider"),
      SAFE, "test_a_number_is_used_once_also_above_what_o_carries"),
    m("6 told to everybody", "start", without("broadcast"),
      VIEW, "test_what_was_prepared_survives_a_failed_view_change"),
    m("8a no request timer while changing", "_stop", never("request_timer"),
      VIEW, "test_timers_stop_when_a_view_begins"),
    m("8d no view timer after the view began", "_stop", never("view_timer"),
      VIEW, "test_a_silent_primary_is_replaced_and_the_request_executed"),
    m("4b inactive while changing", "leave", unassigned("active"),
      NORMAL, "test_during_a_view_change_no_vote_is_taken"),
    m("7 the NEW-VIEW of a view left is not passed on", "leave", unassigned("new_view"),
      SAFE, "test_a_replica_that_gave_a_view_up_does_not_pass_on_how_it_began"),
    Mutation("7e nothing unvoted after a view", "leave", without("clear", 1),
      equivalent="Slots lose their proposal with the view, and `reconsider` drops slots without "
                 "one."),
    m("9 requests in flight may be proposed again", "leave", without("clear", 2),
      SAFE, "test_a_request_proposed_in_vain_is_proposed_again_in_a_later_view"),
    m("7d votes for past views are forgotten", "leave", without("forget_held_back"),
      BOUNDS, "test_held_back_messages_go_when_their_view_is_passed"),
    m("6 a VIEW-CHANGE to a view entered is past", "on_view_change",
      swap("message.view == core.view and core.active", "False"),
      SAFE, "test_what_belongs_to_the_beginning_of_a_view_that_began_is_past"),
    Mutation("8f own VIEW-CHANGE joins nobody", "consider", swap("i != core.index", "True"),
      equivalent="A replica's own VIEW-CHANGE is to the view that it is in, never above it."),
    m("7a V is of one view", "consider", swap("m.view == core.view", "m.view >= core.view"),
      SAFE, "test_a_primary_shows_view_changes_to_its_own_view_only"),
    m("8d first timer is not doubled", "consider", swap("core.failures - 1", "core.failures"),
      VIEW, "test_the_view_timer_starts_only_after_a_quorum"),
    Mutation("8c no timer in a view", "consider", never("active"),
      equivalent="An active replica keeps VIEW-CHANGEs to later views only, and joins at f + 1 "
                 "of them, so no count reaches q."),
    m("8c set once", "consider", swap("not core.view_timer", "True"),
      SAFE, "test_a_liar_cannot_put_off_the_new_view_timer"),
    Mutation("7a V of exactly q", "_begin",
      swap("tuple(votes[i] for i in sorted(votes))[:core.cluster.q]",
           "tuple(votes[i] for i in sorted(votes))"),
      equivalent="More than q VIEW-CHANGEs in a NEW-VIEW are as good, and are accepted."),
    m("10e own NEW-VIEW written", "_begin", without("persist"),
      BACK, "test_every_vote_is_written_before_it_is_sent"),
    m("10e entered view written", "on_new_view", without("persist"),
      BACK, "test_an_entered_view_is_entered_after_a_restart"),
    m("7 a NEW-VIEW of a view entered is past", "on_new_view",
      swap("message.view == core.view and core.active", "False"),
      SAFE, "test_what_belongs_to_the_beginning_of_a_view_that_began_is_past"),
    m("7b O without payloads", "verify_new_view", never("payload"),
      SAFE, "test_o_names_digests_and_carries_no_payloads"),
    Mutation("7e primary votes for O", "enter", swap("slot.sequence > core.executed", "False"),
      equivalent="The proposal stays among those not voted for, and `reconsider` votes in the "
                 "same step."),
    Mutation("7e backups vote for O", "enter", without("reconsider"),
      equivalent="`Replica._go_on` reconsiders at the end of the same step."),
    m("7d held-back votes are taken", "enter", unassigned("retake"),
      VIEW, "test_a_silent_primary_is_replaced_and_the_request_executed"),
    Mutation("7 old VIEW-CHANGEs are dropped", "install", unassigned("view_changes"),
      equivalent="One to the view entered or below is counted nowhere, and its sender's next "
                 "takes its place."),
    m("7 numbers go on above O", "install", swap("proposal.sequence + 1", "proposal.sequence"),
      SAFE, "test_a_number_is_used_once_also_above_what_o_carries"),
    m("9 what O carries is in flight", "install", without("update"),
      SAFE, "test_a_request_that_o_carries_is_not_proposed_again"),
    m("11c signed STATUS", "on_status", without("verify_message"),
      SAFE, "test_an_unsigned_status_or_fetch_uses_up_no_answer"),
    m("11c signed FETCH", "on_fetch", without("verify_message"),
      SAFE, "test_an_unsigned_status_or_fetch_uses_up_no_answer"),
    m("10f no view for those who have it", "_send_view",
      swap("message.view > core.view", "False"),
      SAFE, "test_a_replica_that_is_ahead_is_sent_nothing_old"),
    m("10f votes for what is undecided", "_send_votes",
      swap("slot.sequence > message.executed", "True"),
      SAFE, "test_a_replica_that_is_ahead_is_sent_nothing_old"),
    m("10f nobody moving fetches", "_fetch_ahead",
      swap("core.executed != core.executed_at_tick", "False"),
      SAFE, "test_a_replica_that_moves_fetches_nothing"),
    m("10f another one is asked", "_fetch_ahead", without("add"),
      SAFE, "test_who_answers_nothing_is_not_asked_again_at_once"),
    m("2g the next entry only", "_take_decided",
      swap("message.sequence != core.executed + 1", "False"),
      SAFE, "test_a_fetched_entry_is_the_next_one_within_the_window"),
    m("1d entries inside the window", "_take_decided",
      swap("message.sequence > core.high", "False"),
      SAFE, "test_a_fetched_entry_is_the_next_one_within_the_window"),
    m("2c a seal is verified", "_take_decided", without("verify_decided"),
      CHECK, "test_a_fetched_decision_proves_itself"),
    m("2c a null request has no body", "_refuse_wrong_body", never("data", nth=1),
      SAFE, "test_a_null_request_comes_without_a_body"),
    m("5e never back to a checkpoint", "_take_checkpoint",
      swap("message.sequence <= core.executed", "False"),
      SAFE, "test_an_old_checkpoint_takes_nothing_back"),
    m("5e execution goes on above the checkpoint", "finish_restore", unassigned("executed"),
      CHECK, "test_a_replica_behind_a_checkpoint_fetches_the_state"),
    m("5c restored checkpoint is adopted", "finish_restore", without("adopt"),
      SAFE, "test_a_restored_checkpoint_moves_the_window"),
    m("10 restored checkpoint is written", "finish_restore", without("persist_stable"),
      CHECK, "test_an_application_that_restores_by_itself_is_waited_for"),
    m("7g a body of the proposal", "_take_body", without("_refuse_wrong_body"),
      SAFE, "test_a_fetched_body_is_of_the_proposals_digest"),
    m("10f the status timer goes on", "on_status_timer", without("set_timer"),
      CHECK, "test_a_replica_behind_a_checkpoint_fetches_the_state"),
    m("9c waiting requests are relayed again", "on_status_timer", without("relay"),
      SAFE, "test_a_waiting_request_goes_to_the_primary_again_when_nothing_moves"),
    m("10 another's journal", "_replay", never("index"),
      BACK, "test_foreign_and_broken_journals_are_refused"),
    m("8d failures survive", "_replay", unassigned("failures"),
      SAFE, "test_failures_survive_a_restart"),
    m("10c a vote survives", "_replay_vote", unassigned("voted"),
      SAFE, "test_a_vote_goes_on_counting_after_a_restart"),
    m("10b a number used survives", "_replay_vote", unassigned("next_sequence"),
      BACK, "test_a_restarted_primary_never_uses_a_number_twice"),
    m("10c own PREPARE survives", "_replay_vote", unassigned("prepares"),
      SAFE, "test_a_vote_goes_on_counting_after_a_restart"),
    Mutation("10 a vote's view survives compaction", "_replay_vote", never("view", nth=1),
      equivalent="`compact` drops a NEW-VIEW only where a later one follows, which leaves the "
                 "older view again."),
    Mutation("10d COMMIT survives", "_replay_prepared", unassigned("committing"),
      equivalent="`Replica._start` makes what is prepared committing again, with the same "
                 "COMMIT."),
    m("10d own COMMIT survives", "_replay_prepared", unassigned("commits"),
      SAFE, "test_a_commit_goes_on_counting_after_a_restart"),
    m("10d P of highest view survives", "_replay_prepared",
      swap("slot.certificate.pre_prepare.view <= proposal.view", "False"),
      SAFE, "test_the_certificate_of_the_highest_view_survives_a_restart"),
    m("10 execution survives", "_replay_execution", without("apply"),
      BACK, "test_executed_entries_and_replies_survive"),
    m("5a own CHECKPOINT survives", "_replay_execution", without("note_own"),
      SAFE, "test_its_own_checkpoint_goes_on_counting_after_a_restart"),
    m("5b replies survive", "_replay_stable", unassigned("replies"),
      BACK, "test_the_last_replies_are_restored_with_the_checkpoint"),
    m("5c stable checkpoint survives", "_replay_stable", without("adopt"),
      BACK, "test_executed_entries_and_replies_survive"),
    m("10e given-up view is told again", "Replica._start", without("broadcast"),
      BACK, "test_a_given_up_view_stays_given_up"),
    m("10f the status timer starts", "Replica._start", without("set_timer"),
      CHECK, "test_a_replica_that_missed_decisions_fetches_them_with_their_seals"),
    m("9e own replies", "Client._take", swap("message.client != self.name", "False"),
      SAFE, "test_replies_to_another_client_are_not_believed"),
    Mutation("9e one reply of each replica", "Client._take",
      swap("message.replica in self._replies", "False"),
      equivalent="Replies are kept by replica, so a second one takes the place of the first."),
    m("9a the primary of the latest view", "Client._take", unassigned("_view"),
      CLIENT, "test_the_next_request_goes_to_the_primary_that_answered"),
    m("9a again and again", "Client.timeout",
      swap("[Broadcast(encode_message(self._request)), self._timer()]",
           "[Broadcast(encode_message(self._request))]"),
      CLIENT, "test_an_unanswered_request_goes_to_everybody"),
    m("9 rising timestamps", "Client.submit", never("chosen"),
      CLIENT, "test_misuse_is_refused"),
    m("9 one request at a time", "Client.submit", never("_request"),
      CLIENT, "test_misuse_is_refused"),
    m("9d once over snapshots", "AppendLog.restore", unassigned("_last", nth=1),
      SAFE, "test_a_restored_log_executes_nothing_twice"),
]


def every_test() -> tuple[str, ...]:
    """Return every test of the eight files that needs no more than a ``world``."""
    found = []
    for file in (NORMAL, VIEW, CHECK, BACK, BOUNDS, CLIENT, LIVE, SAFE):
        tree = ast.parse((HERE / f"{file}.py").read_text(encoding="utf-8"))
        found += [f"{file}:{node.name}" for node in tree.body
                  if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
                  and {a.arg for a in node.args.args} <= {"world"} and not node.decorator_list]
    return tuple(found)


def named_tests() -> tuple[str, ...]:
    """Return every test that some mutation names, once."""
    return tuple(dict.fromkeys(itertools.chain.from_iterable(x.tests for x in MUTATIONS)))


def main(arguments: list[str]) -> int:
    """Run all mutations, or find the tests that notice some."""
    begun = time.perf_counter()
    if arguments[:1] == ["--find"]:
        tests = every_test()
        for mutation in MUTATIONS:
            if any(mutation.rule.startswith(word) for word in arguments[1:]):
                print(f"{mutation.rule}: {notice(mutation, tests, every=True)}", flush=True)
        return 0
    survivors = [x.rule for x in MUTATIONS if not x.equivalent and not notice(x, x.tests)]
    equivalent = sum(bool(x.equivalent) for x in MUTATIONS)
    print(f"{len(MUTATIONS)} mutations: {len(MUTATIONS) - equivalent - len(survivors)} noticed, "
          f"{equivalent} equivalent, survivors: {survivors or 'none'}; "
          f"{time.perf_counter() - begun:.0f} s")
    return bool(survivors)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
