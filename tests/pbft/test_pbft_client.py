"""The client of Castro–Liskov 4.1: f + 1 equal replies, retransmission to all (Rule 9)."""

import dataclasses

import pytest

from bdn.errors import UsageError
from bdn.pbft.client import REPLY_TIMER, Accepted
from bdn.pbft.events import Broadcast, CancelTimer, Send, SetTimer
from bdn.pbft.messages import Reply
from bdn.pbft.wire import encode_message


def reply(w, i, result=b"1", timestamp=1, client="c0", view=0):
    return encode_message(w.sign(i, Reply(view, client, timestamp, result, i, b"")))


def test_f_plus_1_equal_replies_are_believed_and_f_are_not(world):
    """Rule 9e: neither one reply, nor two that differ, nor one replica's twice."""
    w = world()
    client = w.clients["c0"]
    client.submit(b"a")
    for data in (reply(w, 0, b"lie"), reply(w, 1), reply(w, 1)):
        assert client.receive(data) == []
    assert client.receive(reply(w, 2)) == [CancelTimer(REPLY_TIMER), Accepted(1, b"a", b"1")]
    assert client.accepted == [Accepted(1, b"a", b"1")]
    assert client.outstanding is None


def test_forged_foreign_and_late_replies_count_for_nothing(world):
    w = world()
    client = w.clients["c0"]
    assert client.receive(reply(w, 1)) == []
    client.submit(b"a")
    forged = dataclasses.replace(w.sign(1, Reply(0, "c0", 1, b"1", 1, b"")), replica=2)
    for data in (encode_message(forged), reply(w, 1, client="c1"), reply(w, 1, timestamp=0),
                 encode_message(w.request()), b"junk", reply(w, 1)):
        assert client.receive(data) == []
    assert client.accepted == []


def test_an_unanswered_request_goes_to_everybody(world):
    """Rule 9a: else backups would have neither timer nor body."""
    w = world()
    client = w.clients["c0"]
    first = client.submit(b"a")
    assert [type(e) for e in first] == [Send, SetTimer]
    again = client.timeout()
    assert [type(e) for e in again] == [Broadcast, SetTimer]
    assert again[0].data == first[0].data, "a retransmission is byte-identical"


def test_the_next_request_goes_to_the_primary_that_answered(world):
    w = world()
    client = w.clients["c0"]
    client.submit(b"a")
    for i in (1, 2):
        client.receive(reply(w, i, view=2))
    assert client.submit(b"b")[0].to == 2


def test_misuse_is_refused(world):
    client = world().clients["c0"]
    client.submit(b"a", timestamp=5)
    with pytest.raises(UsageError):
        client.submit(b"b")
    other = world().clients["c0"]
    other.submit(b"a", timestamp=5)
    other._request = None
    with pytest.raises(UsageError):
        other.submit(b"b", timestamp=5)
    assert other.timeout() == []
