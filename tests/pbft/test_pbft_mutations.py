"""Each rule of docs/pbft.md, deleted one at a time, makes a test fail.

A mutation is a place in the source, what stands there, and what a careless hand would leave. The
whole package is loaded afresh with that one change (nothing else of the process sees it), and the
named tests run against it: at least one must fail. The same tests pass on the unchanged source,
loaded the same way, so a failure is the mutation's.
"""

import importlib
import importlib.util
import inspect
import itertools
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import bdn.pbft

SOURCE = Path(bdn.pbft.__file__).parent
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Mutation:
    """``new`` in place of ``old`` (which stands exactly once in ``file``) deletes ``rule``."""

    rule: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def m(rule: str, file: str, old: str, new: str, *tests: str) -> Mutation:
    return Mutation(rule, file, old, new, tests)


NORMAL, VIEW, CHECK, BACK = (
    f"test_pbft_{name}" for name in ("normal", "view_change", "checkpoint", "recovery"))
BOUNDS, CLIENT = "test_pbft_bounds", "test_pbft_client"

MUTATIONS = [
    # 1: PRE-PREPARE
    m("1a signature", "normal.py",
      "    verify_message(message, core.cluster, core.signing)  # Rule 1a\n", "",
      f"{NORMAL}:test_a_pre_prepare_needs_the_primarys_signature"),
    m("1b digest", "normal.py",
      "if core.application.digest(message.payload) != message.digest:  # Rule 1b", "if False:",
      f"{NORMAL}:test_a_pre_prepare_needs_its_payloads_digest"),
    m("1c no other digest", "normal.py",
      "if slot.pre_prepare.digest != message.digest:  # Rule 1c", "if False:",
      f"{NORMAL}:test_a_second_digest_at_one_place_is_refused"),
    m("1d above h", "normal.py", "if not core.low < message.sequence <= core.high:",
      "if not message.sequence <= core.high:",
      f"{NORMAL}:test_sequence_numbers_outside_the_window_are_refused"),
    m("1d up to H", "normal.py", "if not core.low < message.sequence <= core.high:",
      "if not core.low < message.sequence:",
      f"{NORMAL}:test_sequence_numbers_outside_the_window_are_refused"),
    m("1d the primary too", "normal.py", "if sequence > core.high or ", "if ",
      f"{CHECK}:test_the_window_stops_a_primary_until_the_checkpoint"),
    m("1e valid payload", "normal.py",
      "        core.application.accepts(sequence, payload, carried)\n", "        pass\n",
      f"{NORMAL}:test_an_invalid_payload_gets_no_prepare"),
    m("1e each request once", "application.py", "if len(batch) != len(parts) - 1:", "if False:",
      f"{NORMAL}:test_an_invalid_payload_gets_no_prepare"),
    m("1f null only from O", "normal.py",
      "if message.payload is None or message.payload == NULL_PAYLOAD:",
      "if message.payload is None:", f"{NORMAL}:test_the_null_request_comes_from_o_alone"),
    m("1g not one's own view", "normal.py",
      "    if core.is_primary:\n        raise", "    if False:\n        raise",
      f"{NORMAL}:test_the_primary_takes_no_proposal_of_its_own_view_from_elsewhere"),
    # 2: prepared, committed, executed
    m("2a quorum of PREPAREs", "core.py", "len(self.prepares) >= q - 1",
      "len(self.prepares) >= q - 2",
      f"{NORMAL}:test_prepared_needs_q_minus_1_matching_prepares_of_distinct_backups"),
    m("2a payload and PRE-PREPARE", "core.py", "return self.voted and len",
      "return len", f"{NORMAL}:test_nothing_is_prepared_without_its_payload"),
    m("2b quorum of COMMITs", "core.py", "len(self.commits) >= q", "len(self.commits) >= q - 1",
      f"{NORMAL}:test_two_commits_of_four_are_too_few"),
    m("2b prepared first", "core.py", "return self.committing and len", "return len",
      f"{NORMAL}:test_committed_needs_prepared_and_q_commits"),
    m("2c sealed entries", "certificates.py",
      "_refuse_repeats([index for index, _ in seal.signatures], cluster.q, \"COMMITs\")", "pass",
      f"{CHECK}:test_a_fetched_decision_proves_itself"),
    m("2c sealed entries' signatures", "certificates.py",
      "        signing.verify(cluster.public_keys[index], COMMIT_DOMAIN, text, signature)\n", "",
      f"{CHECK}:test_a_fetched_decision_proves_itself"),
    m("2c sealed entries' bodies", "catch_up.py",
      "elif core.application.digest(message.data) != message.digest:", "elif False:",
      f"{CHECK}:test_a_fetched_decision_proves_itself"),
    m("2d backups only", "normal.py",
      "if message.replica == core.primary:  # Rule 2d", "if False:",
      f"{NORMAL}:test_a_primarys_prepare_counts_for_nothing"),
    m("2e matching PREPAREs", "normal.py",
      "if slot.pre_prepare is not None and slot.pre_prepare.digest != message.digest:  # Rule 2e",
      "if False:", f"{NORMAL}:test_prepares_and_commits_for_another_digest_do_not_count"),
    m("2f matching COMMITs", "normal.py",
      "if slot.pre_prepare is not None and slot.pre_prepare.digest != message.digest:  # Rule 2f",
      "if False:", f"{NORMAL}:test_prepares_and_commits_for_another_digest_do_not_count"),
    m("2e early PREPAREs", "core.py",
      "for i, v in self.prepares.items() if v.digest == proposal.digest",
      "for i, v in self.prepares.items()",
      f"{NORMAL}:test_prepares_and_commits_for_another_digest_do_not_count"),
    m("2f early COMMITs", "core.py",
      "for i, v in self.commits.items() if v.digest == proposal.digest",
      "for i, v in self.commits.items()",
      f"{NORMAL}:test_prepares_and_commits_for_another_digest_do_not_count"),
    m("2 signed PREPAREs", "normal.py",
      "    verify_message(message, core.cluster, core.signing)\n    # record\n"
      "    slot = slot or core.log.at(message.sequence)\n    slot.prepares",
      "    slot = slot or core.log.at(message.sequence)\n    slot.prepares",
      f"{NORMAL}:test_unsigned_votes_never_count"),
    m("2 signed COMMITs", "normal.py",
      "    verify_message(message, core.cluster, core.signing)\n    # record\n"
      "    slot = slot or core.log.at(message.sequence)\n    slot.commits",
      "    slot = slot or core.log.at(message.sequence)\n    slot.commits",
      f"{NORMAL}:test_unsigned_votes_never_count"),
    m("2g in order", "normal.py",
      "slot = core.log.get(core.executed + 1)",
      "slot = next((s for s in core.log if s.seal and s.sequence > core.executed), None)",
      f"{NORMAL}:test_execution_is_in_order_and_early_entries_wait"),
    # 3: general n
    m("3 quorum", "cluster.py", "return quorum(self.n)", "return 2 * self.f + 1",
      f"{NORMAL}:test_one_replica_of_five_cannot_be_missing_twice"),
    m("3 weak certificate", "cluster.py", "return self.f + 1", "return self.f",
      f"{CLIENT}:test_f_plus_1_equal_replies_are_believed_and_f_are_not"),
    # 4: views
    m("4a past views", "normal.py", "if message.view != core.view or not core.active:",
      "if message.view > core.view or not core.active:",
      f"{NORMAL}:test_votes_of_a_past_view_are_refused"),
    m("4a votes stay behind", "core.py", "        self.prepares, self.commits = {}, {}\n", "",
      f"{NORMAL}:test_votes_do_not_carry_over_into_the_next_view"),
    m("4b view change", "normal.py", "if message.view != core.view or not core.active:",
      "if message.view != core.view:",
      f"{NORMAL}:test_during_a_view_change_no_vote_is_taken"),
    # 5: checkpoints
    m("5a quorum", "checkpoint.py", "if len(same) >= core.q:",
      "if len(same) >= core.cluster.weak:",
      f"{CHECK}:test_fewer_than_q_checkpoints_cut_nothing"),
    m("5a matching", "checkpoint.py",
      "for i in sorted(votes) if votes[i].digest == candidate.digest]", "for i in sorted(votes)]",
      f"{CHECK}:test_checkpoints_that_disagree_make_nothing_stable"),
    m("5a signed", "checkpoint.py",
      "    verify_message(message, core.cluster, core.signing)\n", "",
      f"{BOUNDS}:test_forged_votes_do_not_take_the_place_of_real_ones"),
    m("5b last replies", "wire.py",
      "snapshot.state, replies)", "snapshot.state)",
      f"{CHECK}:test_a_checkpoint_covers_the_last_replies"),
    m("5b replies restored", "catch_up.py",
      "core.replies = {client: (timestamp, result) for client, timestamp, result in "
      "snapshot.replies}", "pass",
      f"{CHECK}:test_a_replica_behind_a_checkpoint_fetches_the_state"),
    m("5c cut", "checkpoint.py", "    core.log.cut(sequence)\n", "",
      f"{CHECK}:test_a_stable_checkpoint_cuts_the_log_and_moves_the_window"),
    m("5c window", "checkpoint.py", "    core.slide_to(sequence)\n", "",
      f"{CHECK}:test_a_stable_checkpoint_cuts_the_log_and_moves_the_window"),
    m("5d fetched state", "catch_up.py",
      "if checkpoint_digest(snapshot) != certified:  # Rule 5d", "if False:",
      f"{CHECK}:test_a_fetched_state_proves_itself"),
    m("5d proof", "catch_up.py",
      "certified = verify_stable(core.cluster, core.signing, message.sequence, message.proof)",
      "certified = message.digest", f"{CHECK}:test_a_fetched_state_proves_itself"),
    m("5e state transfer", "catch_up.py", "    if message.stable > core.executed:\n",
      "    if False:\n", f"{CHECK}:test_a_replica_behind_a_checkpoint_fetches_the_state"),
    m("5f no judgement meanwhile", "normal.py",
      "    if core.restoring is not None:\n        return False  # Rule 5f",
      "    if False:\n        return False  # Rule 5f",
      f"{CHECK}:test_an_application_that_restores_by_itself_is_waited_for"),
    m("5g no execution meanwhile", "normal.py", "while core.restoring is None:", "while True:",
      f"{CHECK}:test_an_application_that_restores_by_itself_is_waited_for"),
    # 6: VIEW-CHANGE
    m("6 signature", "certificates.py",
      "    verify_message(message, cluster, signing)\n    verify_stable",
      "    verify_stable", f"{VIEW}:test_a_view_change_needs_its_senders_signature"),
    m("6a checkpoint proof", "certificates.py",
      "    verify_stable(cluster, signing, message.stable, message.proof)  # Rule 6a\n", "",
      f"{VIEW}:test_a_view_change_needs_a_proof_of_its_checkpoint"),
    m("6a proof of one state", "certificates.py",
      "if vote.sequence != sequence or vote.digest != proof[0].digest:",
      "if vote.sequence != sequence:",
      f"{VIEW}:test_a_view_change_needs_a_proof_of_its_checkpoint"),
    m("6b above h", "certificates.py",
      "if not last < proposal.sequence <= message.stable + cluster.window:",
      "if not proposal.sequence <= message.stable + cluster.window:",
      f"{VIEW}:test_p_entries_lie_above_h_within_the_window_and_once"),
    m("6b within the window", "certificates.py",
      "if not last < proposal.sequence <= message.stable + cluster.window:",
      "if not last < proposal.sequence:",
      f"{VIEW}:test_p_entries_lie_above_h_within_the_window_and_once"),
    m("6c below the target", "certificates.py", "if proposal.view >= message.view:", "if False:",
      f"{VIEW}:test_p_entries_are_of_views_below_the_target"),
    m("6d P verified", "certificates.py", "        verify_prepared(cluster, signing, entry)\n", "",
      f"{VIEW}:test_p_entries_are_fully_verified"),
    m("6d proposal signed", "certificates.py",
      "    verify_message(proposal, cluster, signing)\n", "",
      f"{VIEW}:test_p_entries_are_fully_verified"),
    m("6d quorum", "certificates.py",
      "_refuse_repeats([vote.replica for vote in entry.prepares], cluster.q - 1, \"PREPAREs\")",
      "pass", f"{VIEW}:test_p_entries_are_fully_verified"),
    m("6d matching", "certificates.py",
      "if (vote.view, vote.sequence, vote.digest) != _point(proposal):", "if False:",
      f"{VIEW}:test_p_entries_are_fully_verified"),
    m("6d backups", "certificates.py",
      "if vote.replica == cluster.primary(vote.view):", "if False:",
      f"{VIEW}:test_p_entries_are_fully_verified"),
    m("6e no masking", "view_change.py",
      "    verify_view_change(core.cluster, core.signing, message)\n    # record\n"
      "    core.view_changes[message.replica] = message\n",
      "    core.view_changes[message.replica] = message\n"
      "    verify_view_change(core.cluster, core.signing, message)\n",
      f"{VIEW}:test_one_bad_view_change_does_not_mask_a_good_one"),
    # 7: NEW-VIEW
    m("7 signature", "view_change.py",
      "    verify_message(message, core.cluster, core.signing)\n    replicas",
      "    replicas", f"{VIEW}:test_a_new_view_needs_a_quorum_of_distinct_valid_view_changes"),
    m("7a quorum", "view_change.py", " or len(replicas) < core.cluster.q:", ":",
      f"{VIEW}:test_a_new_view_needs_a_quorum_of_distinct_valid_view_changes"),
    m("7a distinct", "view_change.py", "if replicas != sorted(set(replicas)) or ", "if ",
      f"{VIEW}:test_a_new_view_needs_a_quorum_of_distinct_valid_view_changes"),
    m("7a for this view", "view_change.py", "if part.view != message.view:", "if False:",
      f"{VIEW}:test_a_new_view_needs_a_quorum_of_distinct_valid_view_changes"),
    m("7a verified", "view_change.py",
      "            verify_view_change(core.cluster, core.signing, part)\n", "            pass\n",
      f"{VIEW}:test_a_new_view_needs_a_quorum_of_distinct_valid_view_changes"),
    m("7a primary waits for q", "view_change.py",
      "if core.is_primary and len(votes) >= core.cluster.q:", "if core.is_primary:",
      f"{BACK}:test_every_vote_is_written_before_it_is_sent"),
    m("7b O recomputed", "view_change.py",
      "if claimed != [(message.view, sequence, digest) for sequence, digest in order]:",
      "if False:", f"{VIEW}:test_a_new_view_must_propose_exactly_what_follows"),
    m("7b O signed", "view_change.py",
      "            raise MessageError(\"a proposal of O carries a payload\")\n"
      "        verify_message(proposal, core.cluster, core.signing)\n",
      "            raise MessageError(\"a proposal of O carries a payload\")\n",
      f"{VIEW}:test_a_new_view_must_propose_exactly_what_follows"),
    m("7b highest view", "certificates.py", "entry.pre_prepare.view > known.view",
      "entry.pre_prepare.view < known.view",
      f"{VIEW}:test_o_takes_the_highest_views_digest_and_null_elsewhere"),
    m("7b min-s", "certificates.py", "message.stable > best.stable",
      "message.stable < best.stable",
      f"{VIEW}:test_o_takes_the_highest_views_digest_and_null_elsewhere"),
    m("7b null for gaps", "certificates.py",
      "for sequence in range(best.stable + 1, last + 1)]",
      "for sequence in range(best.stable + 1, last + 1) if sequence in highest]",
      f"{VIEW}:test_o_takes_the_highest_views_digest_and_null_elsewhere"),
    m("7c without one's own VIEW-CHANGE", "view_change.py",
      "    if message.view < core.view or (message.view == core.view and core.active):\n"
      "        raise MessageError(f\"the NEW-VIEW of",
      "    if message.view != core.view or core.active:\n"
      "        raise MessageError(f\"the NEW-VIEW of",
      f"{VIEW}:test_a_replica_that_sent_no_view_change_accepts_a_new_view"),
    m("7d early messages wait", "normal.py", "    core.buffer[sender] = [*held, message]\n", "",
      f"{VIEW}:test_messages_of_a_view_wait_for_its_new_view"),
    m("7d early messages verified", "normal.py",
      "    verify_message(message, core.cluster, core.signing)\n    # record\n"
      "    core.buffer[sender]", "    core.buffer[sender]",
      f"{BOUNDS}:test_forged_votes_do_not_take_the_place_of_real_ones"),
    m("7e executed entries again", "normal.py",
      "    if sequence <= core.executed:  # Rule 7e",
      "    if sequence <= core.executed:\n        return False\n    if False:  # Rule 7e",
      f"{VIEW}:test_an_executed_entry_runs_the_phases_again_but_not_the_execution"),
    m("7f P survives views", "core.py",
      "        self.withdraw()\n        self.voted",
      "        self.withdraw()\n        self.certificate = None\n        self.voted",
      f"{VIEW}:test_what_was_prepared_survives_a_failed_view_change"),
    m("7g bodies are fetched", "view_change.py",
      "catch_up.fetch_body(core, slot.sequence, proposal.digest)", "pass",
      f"{VIEW}:test_a_missing_body_is_fetched"),
    # 8: timers
    m("8a starts", "replica.py", "if due and (core.progress or not core.request_timer):",
      "if False:", f"{NORMAL}:test_a_backup_relays_a_request_to_the_primary_and_starts_its_timer"),
    m("8a not anew at each request", "replica.py",
      "if due and (core.progress or not core.request_timer):", "if due:",
      f"{VIEW}:test_the_request_timer_runs_while_a_request_waits_and_stops_after"),
    m("8a anew after progress", "replica.py",
      "if due and (core.progress or not core.request_timer):",
      "if due and not core.request_timer:",
      f"{VIEW}:test_the_request_timer_runs_while_a_request_waits_and_stops_after"),
    m("8a own progress only", "normal.py",
      "if core.pending.pop(key, None) is not None:", "if core.pending.pop(key, 1):",
      f"{VIEW}:test_executing_what_nobody_waits_for_does_not_restart_the_timer"),
    m("8a stops", "replica.py", "    elif core.request_timer and not due:\n",
      "    elif False:\n",
      f"{VIEW}:test_the_request_timer_runs_while_a_request_waits_and_stops_after"),
    m("8a backups only", "replica.py", "core.active and not core.is_primary\n",
      "core.active\n", f"{VIEW}:test_the_primary_runs_no_request_timer"),
    m("8b suspects", "replica.py",
      "            view_change.start(core, core.view + 1)  # Rule 8b\n", "",
      f"{VIEW}:test_the_request_timer_suspects_the_primary"),
    m("8c after a quorum", "view_change.py",
      "if reached >= core.cluster.q and not core.view_timer:", "if not core.view_timer:",
      f"{VIEW}:test_the_view_timer_starts_only_after_a_quorum"),
    m("8c later views count", "view_change.py",
      "sum(m.view >= core.view for m in", "sum(m.view == core.view for m in",
      f"{VIEW}:test_replicas_spread_over_views_do_not_wait_for_one_another"),
    m("8d next view", "replica.py",
      "            view_change.start(core, core.view + 1)  # Rule 8d\n", "",
      f"{VIEW}:test_timeouts_double_with_each_failed_view_and_are_short_after_progress"),
    m("8d doubles", "core.py", "return milliseconds << min(times, MAX_DOUBLINGS)",
      "return milliseconds",
      f"{VIEW}:test_timeouts_double_with_each_failed_view_and_are_short_after_progress"),
    m("8e short after progress", "normal.py", "        core.failures = 0", "        pass",
      f"{VIEW}:test_timeouts_double_with_each_failed_view_and_are_short_after_progress"),
    m("8f join", "view_change.py", "if len(higher) >= core.cluster.weak:", "if False:",
      f"{VIEW}:test_f_plus_1_higher_views_are_joined_at_the_smallest"),
    m("8f f are not enough", "view_change.py", "if len(higher) >= core.cluster.weak:",
      "if higher:", f"{VIEW}:test_a_single_faulty_replica_cannot_force_a_view_change"),
    m("8f smallest", "view_change.py", "        start(core, min(higher))\n",
      "        start(core, max(higher))\n",
      f"{VIEW}:test_f_plus_1_higher_views_are_joined_at_the_smallest"),
    # 9: requests
    m("9 signed", "normal.py",
      "    verify_message(request, core.cluster, core.signing)\n", "",
      f"{NORMAL}:test_an_unsigned_request_and_a_stranger_are_refused"),
    m("9a to all", "client.py",
      "        return [Broadcast(encode_message(self._request)), self._timer()]",
      "        return [Send(0, encode_message(self._request)), self._timer()]",
      f"{CLIENT}:test_an_unanswered_request_goes_to_everybody"),
    m("9b cached reply", "normal.py", "if request.timestamp == last:  # Rule 9b", "if False:  #",
      f"{NORMAL}:test_a_repeated_request_gets_the_cached_reply_and_no_second_execution"),
    m("9b older", "normal.py", "    if request.timestamp < last:\n", "    if False:\n",
      f"{NORMAL}:test_a_repeated_request_gets_the_cached_reply_and_no_second_execution"),
    m("9c relay", "normal.py",
      "        core.send(core.cluster.primary(core.view), request)\n", "",
      f"{NORMAL}:test_a_backup_relays_a_request_to_the_primary_and_starts_its_timer"),
    m("9d once", "application.py",
      "if timestamp > self._last.get(client, -1):  # Rule 9d", "if True:  #",
      f"{NORMAL}:test_a_request_ordered_twice_is_executed_once"),
    m("9e equal replies", "client.py",
      "same = [r for r in self._replies.values() if r.result == message.result]",
      "same = list(self._replies.values())",
      f"{CLIENT}:test_f_plus_1_equal_replies_are_believed_and_f_are_not"),
    m("9e signed replies", "client.py",
      "        verify_message(message, self._cluster, self._signing)\n", "",
      f"{CLIENT}:test_forged_foreign_and_late_replies_count_for_nothing"),
    # 10: journal and retransmission
    m("10b proposals written", "normal.py",
      "        core.persist(Voted(proposal.stripped(), payload, carried=False))  # Rule 10b\n", "",
      f"{BACK}:test_a_restarted_primary_never_uses_a_number_twice"),
    m("10c PREPAREs written", "normal.py",
      "    core.persist(Voted(proposal, payload, slot.carried))  # Rule 10c",
      "    pass  # Rule 10c",
      f"{BACK}:test_a_restarted_backup_never_contradicts_its_prepare"),
    m("10d P written", "normal.py", "    core.persist(slot.certificate)  # Rule 10d",
      "    pass  # Rule 10d", f"{BACK}:test_p_survives_a_restart"),
    m("10d written first", "normal.py",
      "    core.persist(slot.certificate)  # Rule 10d: P survives a restart\n"
      "    core.broadcast(own)\n",
      "    core.broadcast(own)\n    core.persist(slot.certificate)\n",
      f"{BACK}:test_every_vote_is_written_before_it_is_sent"),
    m("10e views written", "view_change.py", "    core.persist(message)  # Rule 10e",
      "    pass  # Rule 10e", f"{BACK}:test_a_given_up_view_stays_given_up"),
    m("10f votes again", "catch_up.py", "        _send_votes(core, message)\n",
      "        pass\n", f"{CHECK}:test_a_status_brings_back_the_votes_that_were_lost"),
    m("10f views again", "catch_up.py", "    _send_view(core, message)\n", "",
      f"{CHECK}:test_a_replica_in_an_old_view_is_brought_to_the_new_one"),
    m("10f checkpoints again", "catch_up.py", "    _send_checkpoints(core, message)\n", "",
      f"{CHECK}:test_the_window_stops_a_primary_until_the_checkpoint"),
    m("10f decisions fetched", "catch_up.py",
      "        core.send(message.replica, _ask(core, \"decided\", core.executed + 1))\n", "",
      f"{CHECK}:test_a_replica_that_missed_decisions_fetches_them_with_their_seals"),
    m("10g carried payloads", "normal.py",
      "        core.application.accepts(sequence, payload, carried)\n",
      "        core.application.accepts(sequence, payload, False)\n",
      f"{VIEW}:test_a_carried_payload_is_not_judged_by_clock_or_proposer"),
    # 11: bounded memory (ours)
    m("11a highest VIEW-CHANGE", "view_change.py",
      "if known is not None and known.view >= message.view:", "if False:",
      f"{VIEW}:test_only_the_highest_view_change_of_each_sender_is_kept"),
    m("11b far CHECKPOINTs", "checkpoint.py",
      "    near = message.sequence <= core.high\n", "    near = True\n",
      f"{BOUNDS}:test_a_flooding_peer_fills_bounded_memory"),
    m("11c answers", "catch_up.py", " or message.replica in core.answered:", ":",
      f"{CHECK}:test_one_status_a_period_is_answered"),
    m("11c served", "catch_up.py",
      "if core.served[message.replica] > 2 * core.cluster.window:", "if False:",
      f"{CHECK}:test_one_status_a_period_is_answered"),
    m("11d held-back votes", "normal.py", "if len(held) >= 3 * core.cluster.window:",
      "if False:", f"{BOUNDS}:test_a_flooding_peer_fills_bounded_memory"),
    m("11e bodies", "core.py", "if len(self.bodies) > MAX_BODIES:", "if False:",
      f"{BOUNDS}:test_bodies_of_a_slot_are_bounded"),
    m("11f requests", "normal.py", ">= PENDING_PER_CLIENT):\n", ">= 10**9):\n",
      f"{NORMAL}:test_a_client_cannot_fill_a_replicas_memory"),
    # sequential ledgers (section 5)
    m("12a defer", "normal.py",
      "if core.cluster.sequential and sequence != core.executed + 1:", "if False:",
      f"{NORMAL}:test_sequential_defers_until_the_predecessor_is_executed"),
    m("12b one in flight", "normal.py",
      "depth = 1 if core.cluster.sequential else core.cluster.pipeline",
      "depth = core.cluster.pipeline",
      f"{NORMAL}:test_sequential_has_one_proposal_in_flight"),
]

# --- loading a mutated package ------------------------------------------------------------------


class _Mutated(SourceFileLoader):
    """Loads one module with one change, past every cache."""

    def __init__(self, name: str, path: str, mutation: Mutation) -> None:
        super().__init__(name, path)
        self._mutation = mutation

    def get_code(self, fullname: str) -> Any:
        source = Path(self.path).read_text(encoding="utf-8")
        changed = source.replace(self._mutation.old, self._mutation.new)
        return compile(changed, self.path, "exec")


class _Finder(MetaPathFinder):
    def __init__(self, mutation: Mutation) -> None:
        self._mutation = mutation
        self._name = f"bdn.pbft.{mutation.file.removesuffix('.py')}"

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        where = str(SOURCE / self._mutation.file)
        loader = _Mutated(fullname, where, self._mutation)
        return importlib.util.spec_from_file_location(fullname, where, loader=loader)


def _is_ours(name: str) -> bool:
    return name == "bdn.pbft" or name.startswith(("bdn.pbft.", "_mutated_"))


@contextmanager
def package(mutation: Mutation | None) -> Iterator[dict[str, ModuleType]]:
    """The test modules, loaded over a fresh copy of `bdn.pbft` with the mutation inside."""
    aside = {name: module for name, module in sys.modules.items() if _is_ours(name)}
    for name in aside:
        del sys.modules[name]
    finder = None if mutation is None else _Finder(mutation)
    if finder is not None:
        sys.meta_path.insert(0, finder)
    parent = sys.modules["bdn"]
    attribute = parent.pbft
    try:
        importlib.import_module("bdn.pbft")
        needed = {"conftest", *(t.split(":")[0] for t in (mutation or EVERYTHING).tests)}
        yield {name: _load(name) for name in sorted(needed)}
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


def run(modules: dict[str, ModuleType], test: str) -> None:
    """Call one test function with a ``world`` of the loaded conftest."""
    file, function = test.split(":")
    conftest = modules["conftest"]

    def world(n: int = 4, make_application: Any = None, **options: Any) -> Any:
        return conftest.World(n, options, make_application)

    target = getattr(modules[file], function)
    target(**({"world": world} if "world" in inspect.signature(target).parameters else {}))


EVERYTHING = Mutation("none", "", "", "", tuple(dict.fromkeys(
    itertools.chain.from_iterable(mutation.tests for mutation in MUTATIONS))))


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.rule)
def test_deleting_a_rule_makes_a_test_fail(mutation):
    """Issue 5, point 1: no rule is there without a test that misses it."""
    source = (SOURCE / mutation.file).read_text(encoding="utf-8")
    assert source.count(mutation.old) == 1, "the mutation's place has moved"
    with package(mutation) as modules:
        for test in mutation.tests:
            try:
                run(modules, test)
            except Exception:  # noqa: BLE001 - however the test fails, it has noticed
                return
    pytest.fail(f"without rule {mutation.rule}, {', '.join(mutation.tests)} still pass")


def test_the_same_tests_pass_on_the_unchanged_source():
    """Else a failure above would prove nothing."""
    with package(None) as modules:
        for test in EVERYTHING.tests:
            run(modules, test)


def test_every_rule_named_in_the_source_is_deleted_here():
    """A comment "Rule 7b" without a mutation of that name is a promise that nobody checks."""
    named: set[str] = set()
    for path in SOURCE.glob("*.py"):
        if path.name != "__init__.py":
            named.update(re.findall(r"Rules? (\d+[a-z])", path.read_text(encoding="utf-8")))
    deleted = {mutation.rule.split()[0] for mutation in MUTATIONS}
    assert named - deleted == set(), "named in comments and never deleted"
