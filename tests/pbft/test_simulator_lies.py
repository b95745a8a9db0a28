"""What Byzantine senders may change, and that none of it harms the others."""

from dataclasses import replace
from typing import Any

import pytest

from bdn.pbft.messages import (
    NULL_DIGEST,
    Checkpoint,
    NewView,
    Prepare,
    Prepared,
    PrePrepare,
    State,
    ViewChange,
)
from bdn.pbft.simulator import SimulationResult, parse_scenario, simulate
from bdn.pbft.simulator.byzantine import MUTATE, FieldChange
from bdn.pbft.simulator.record import Transmission
from bdn.pbft.simulator.scenario import MUTATIONS

D = b"\x01" * 32


def _sign(part: Any) -> Any:
    return replace(part, signature=b"own")


PROPOSALS = tuple(PrePrepare(2, n, D, None, b"old") for n in (3, 4))
ENTRY = Prepared(PROPOSALS[0], (Prepare(2, 3, D, 1, b"old"), Prepare(2, 3, D, 2, b"old")))
PROOF = tuple(Checkpoint(2, D, i, b"old") for i in range(3))
CHANGE = ViewChange(3, 2, PROOF, (ENTRY,), 0, b"old")
VIEW = NewView(3, (CHANGE, replace(CHANGE, replica=1), replace(CHANGE, replica=2)), PROPOSALS,
               b"old")


def changed(field: str, message: Any, by: int = 1) -> Any:
    return MUTATE[field](message, FieldChange(by, _sign, 8))


def test_there_is_a_mutation_for_every_field_of_the_format() -> None:
    """The format names fourteen fields."""
    assert set(MUTATE) == set(MUTATIONS)
    assert len(MUTATIONS) == 14


def test_plain_fields_move_by_the_given_amount() -> None:
    """digest, view and sequence; a STATE's digest vouches for its data, so the data changes."""
    vote = Prepare(2, 3, D, 1, b"s")
    assert changed("digest", vote).digest not in (D, b"")
    assert (changed("view", vote, -1).view, changed("sequence", vote, 4).sequence) == (1, 7)
    assert changed("view", vote, -3) is None
    state = State("decided", 3, D, b"data", 2, (), (), 1, b"s")
    assert (changed("digest", state).digest, changed("digest", state).data != b"data") == (D, True)
    assert changed("digest", VIEW) is None


def test_o_is_changed_in_the_entry_that_by_names() -> None:
    """o-omit, o-null, o-digest, o-extra: 1 is the first entry, -1 the last."""
    assert changed("o-omit", VIEW).pre_prepares == PROPOSALS[1:]
    assert changed("o-omit", VIEW, -1).pre_prepares == PROPOSALS[:1]
    assert changed("o-omit", VIEW, 3) is None
    null = changed("o-null", VIEW, 2).pre_prepares[1]
    assert (null.digest, null.signature) == (NULL_DIGEST, b"own")
    assert changed("o-digest", VIEW).pre_prepares[0].digest not in (D, NULL_DIGEST)
    assert [p.sequence for p in changed("o-extra", VIEW, 2).pre_prepares] == [3, 4, 6]
    assert changed("o-null", CHANGE) is None


def test_v_loses_its_quorum_of_distinct_senders() -> None:
    """v-omit leaves one out; v-duplicate keeps the number and repeats one."""
    assert len(changed("v-omit", VIEW).view_changes) == 2
    twice = changed("v-duplicate", VIEW).view_changes
    assert [change.replica for change in twice] == [1, 1, 2]


def test_p_claims_what_was_not_prepared() -> None:
    """p-forge, p-view, p-outside and p-omit."""
    forged = changed("p-forge", CHANGE).prepared[0]
    assert {forged.pre_prepare.digest} == {vote.digest for vote in forged.prepares}
    assert forged.pre_prepare.digest != D
    assert changed("p-forge", replace(CHANGE, prepared=())).prepared[0].prepares == ()
    assert changed("p-view", CHANGE).prepared[0].pre_prepare.view == 3
    assert changed("p-outside", CHANGE).prepared[0].pre_prepare.sequence == 2 + 8 + 1
    assert changed("p-outside", CHANGE, -1).prepared[0].pre_prepare.sequence == 2
    assert changed("p-omit", CHANGE).prepared == ()


def test_c_falls_short_of_a_quorum() -> None:
    """c-short: one signer fewer, or, before the first checkpoint, none at all."""
    assert len(changed("c-short", CHANGE).proof) == 2
    begun = changed("c-short", replace(CHANGE, stable=0, proof=()))
    assert (begun.stable, begun.proof) == (1, ())


def run(**sections: Any) -> SimulationResult:
    requests = [{"client": "c0", "operation": "a"}, {"client": "c1", "operation": "b", "at_ms": 3}]
    return simulate(parse_scenario({
        "replicas": 4, "requests": requests, "checkpoint_interval": 1, "window": 4,
        "heal_at_ms": 1500, "limit_ms": 20_000, **sections}))


SUSPECTED = {"drop": [{"type": "COMMIT", "view": 0}],
             "suspect": [{"replica": r, "at_ms": 40, "view": 1} for r in ("0", "2")]}


@pytest.mark.parametrize("resign", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("field", MUTATIONS)
def test_one_liar_harms_nobody_whatever_it_changes(field: str, resign: bool) -> None:
    """Every field, signed again by replica 1 or not, in a run with a view change to 1."""
    outcome = run(**SUSPECTED, mutate=[{"from": "1", "field": field, "resign": resign}])
    assert (outcome.safe, outcome.live) == (True, True), (outcome.violations, outcome.unmet)
    forged = [p for p in outcome.record.entries if isinstance(p, Transmission) and p.forged]
    assert forged, "the rule must have struck"


@pytest.mark.parametrize("field", ["o-omit", "o-null", "o-digest", "o-extra", "v-omit",
                                   "v-duplicate"])
def test_a_forged_new_view_is_refused_by_everyone(field: str) -> None:
    """Rule 7: receivers recompute O from V; none enters view 1 while its primary lies."""
    outcome = run(**SUSPECTED, mutate=[
        {"type": "NEW-VIEW", "from": "1", "field": field, "resign": True}])
    assert (outcome.safe, outcome.live) == (True, True), (outcome.violations, outcome.unmet)
    assert all(outcome.views[name] >= 2 for name in ("0", "2", "3"))


def test_a_message_changed_without_a_new_signature_makes_nobody_byzantine() -> None:
    """The network tampers; the sender stays under judgement and must still make progress."""
    scenario = parse_scenario({"replicas": 4, "requests": [],
                               "mutate": [{"from": "1", "field": "view"}]})
    assert scenario.byzantine == frozenset()
