import asyncio
import json
import socket

import numpy as np
import pytest

from ivme.serve.channel import LENGTHS, Channel, ChannelClosed


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Channel(ours), Channel(theirs), ours


def test_a_message_arrives_as_it_was_sent(ends):
    one, other, _ = ends
    arrays = {"scores": np.arange(6, dtype=np.float64).reshape(2, 3), "none": np.zeros((0, 2))}
    one.send({"texts": ["çay", "\U0001f389"]}, arrays)
    message = other.receive()
    assert message.content == {"texts": ["çay", "\U0001f389"]}
    for name, array in arrays.items():
        np.testing.assert_array_equal(message.arrays[name], array)


def test_messages_in_a_row_are_told_apart(ends):
    one, other, _ = ends
    for number in range(3):
        one.send({"number": number}, {"x": np.full(number, 0.5)})
    for number in range(3):
        assert other.is_pending()
        asyncio.run(other.until_pending(1.0))
        message = other.receive(timeout_s=1.0)
        assert message.content == {"number": number}
        message.arrays["x"][:] = 1.0  # its own memory
    assert not other.is_pending()
    with pytest.raises(TimeoutError):
        asyncio.run(other.until_pending(0.001))


def test_the_end_of_the_other_side_is_told(ends):
    one, other, _ = ends
    other.close()
    with pytest.raises(ChannelClosed):
        one.receive()


def test_silence_ends_after_its_time(ends):
    one, _, _ = ends
    with pytest.raises(TimeoutError):
        one.receive(timeout_s=0.001)


def test_a_side_that_does_not_read_is_given_up_after_its_time(ends):
    one, _, _ = ends
    with pytest.raises(TimeoutError):
        one.send({"texts": ["x" * 4_000_000]}, timeout_s=0.001)


def test_an_array_of_objects_is_refused(ends):
    _, other, raw = ends
    head = json.dumps({"content": {}, "arrays": [["x", "object", [1]]]}).encode()
    raw.sendall(LENGTHS.pack(len(head), 8) + head + bytes(8))
    with pytest.raises(ChannelClosed, match="an array of type 'object'"):
        other.receive()


def test_a_length_beyond_all_measure_is_refused_before_it_is_read(ends):
    _, other, raw = ends
    raw.sendall(LENGTHS.pack(10, 2**40))
    with pytest.raises(ChannelClosed, match="bytes"):
        other.receive()
