"""Batches begun ahead are those that were asked for; what goes wrong with one is said when it is asked for."""

import threading
import time

import pytest

from zero123.training.ahead import Ahead


class _Numbers:
    """A sampler whose batches are what they were asked with; notes who asked."""

    def __init__(self):
        self.made, self.threads = [], set()

    def batch(self, index, size):
        self.made.append(index)
        self.threads.add(threading.get_ident())
        if index == 13:
            raise ValueError("unlucky")
        return index, size


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_every_batch_is_the_samplers(depth, stride):
    sampler = _Numbers()
    ahead = Ahead(sampler, stride, depth)
    asked = list(range(5, 12, stride))
    assert [ahead.batch(index, 4) for index in asked] == [(index, 4) for index in asked]
    ahead.close()
    assert sorted(set(sampler.made)) == sorted(sampler.made) and set(asked) <= set(sampler.made)
    assert max(sampler.made) <= asked[-1] + depth * stride
    assert (threading.get_ident() in sampler.threads) == (depth == 0)


def test_the_next_batch_is_made_while_nobody_waits():
    sampler = _Numbers()
    ahead = Ahead(sampler, 1, 2)
    ahead.batch(0, 1)
    until = time.monotonic() + 5
    while sampler.made != [0, 1, 2] and time.monotonic() < until:
        time.sleep(0.001)
    assert sampler.made == [0, 1, 2]
    ahead.close()


def test_what_goes_wrong_is_raised_at_its_own_step():
    ahead = Ahead(_Numbers(), 1, 3)
    assert [ahead.batch(index, 1) for index in (11, 12)] == [(11, 1), (12, 1)]
    with pytest.raises(ValueError, match="unlucky"):
        ahead.batch(13, 1)
    ahead.close()


def test_an_order_that_was_not_foreseen_is_served_too():
    ahead = Ahead(_Numbers(), 1, 2)
    assert [ahead.batch(index, 2) for index in (0, 40, 7)] == [(0, 2), (40, 2), (7, 2)]
    ahead.close()
