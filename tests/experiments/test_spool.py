"""Messages on their way: whatever is put is taken, and memory stays bounded."""

from contextlib import closing

from hypothesis import given
from hypothesis import strategies as st

from bdn.experiments.spool import Slip, Spool


@given(data=st.data())
def test_every_message_is_taken_as_it_was_put(data: st.DataObject) -> None:
    """In any order, for one taker or several, in memory or in the file."""
    with closing(Spool(kept=50, smallest=4)) as spool:
        waiting: list[tuple[Slip, bytes]] = []
        for number in range(data.draw(st.integers(0, 30))):
            if waiting and data.draw(st.booleans()):
                slip, expected = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
                assert spool.take(slip) == expected
            else:
                message = bytes([number]) * data.draw(st.integers(0, 40))
                waiting += [(spool.put(message), message) for _ in range(data.draw(
                    st.integers(1, 3)))]
        for slip, expected in waiting:
            assert spool.take(slip) == expected


def test_large_messages_beyond_the_limit_are_not_in_memory() -> None:
    spool = Spool(kept=100, smallest=10)
    messages = [bytes([k]) * 60 for k in range(10)]
    slips = [spool.put(message) for message in messages]
    assert [slip.data is not None for slip in slips] == [True] + [False] * 9
    assert [spool.take(slip) for slip in slips] == messages
    again = spool.put(messages[0])
    assert again.data is not None, "there is room again"
    assert spool._file is not None
    assert spool._file.seek(0, 2) == 0, "what everybody has taken leaves the file"
    spool.close()


def test_a_message_for_several_is_kept_once() -> None:
    spool = Spool(kept=0, smallest=1)
    message = b"to all edge servers"
    slips = [spool.put(message) for _ in range(3)]
    assert slips[0] is slips[2]
    assert [spool.take(slip) for slip in slips] == [message] * 3
    assert spool.put(message) is not slips[0]
    spool.close()
