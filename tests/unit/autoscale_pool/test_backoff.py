"""When a group whose processes die may start the next one."""

from __future__ import annotations

from littleq.autoscale.pool.backoff import CALM_SECONDS, LONGEST_SECONDS, Backoff
from littleq.testing import ManualClock


def test_nothing_is_held_back_as_long_as_nobody_dies() -> None:
    assert Backoff(ManualClock()).startable(starting=5) > 1000


def test_the_pause_doubles_up_to_half_a_minute() -> None:
    clock = ManualClock()
    backoff = Backoff(clock)
    pauses = []
    for _ in range(9):
        pauses.append(backoff.died())
        clock.advance(pauses[-1])
    assert pauses == [0.5, 1, 2, 4, 8, 16, LONGEST_SECONDS, LONGEST_SECONDS, LONGEST_SECONDS]


def test_nothing_starts_in_a_pause_and_one_at_a_time_after_it() -> None:
    clock = ManualClock()
    backoff = Backoff(clock)
    backoff.died()
    backoff.died()
    clock.advance(0.99)
    assert backoff.startable(starting=0) == 0
    clock.advance(0.01)
    assert backoff.startable(starting=0) == 1
    assert backoff.startable(starting=1) == 0


def test_a_calm_minute_forgives() -> None:
    clock = ManualClock()
    backoff = Backoff(clock)
    for _ in range(6):
        backoff.died()
    clock.advance(CALM_SECONDS - 1)
    assert backoff.startable(starting=0) == 1
    clock.advance(1)
    assert backoff.startable(starting=3) > 1000
    assert backoff.died() == 0.5


def test_a_loop_of_slow_crashes_is_still_a_loop() -> None:
    """Each comes up, and dies after 20 s: the pauses must grow none the less."""
    clock = ManualClock()
    backoff = Backoff(clock)
    pauses = []
    for _ in range(8):
        pauses.append(backoff.died())
        clock.advance(pauses[-1] + 20)
    assert pauses[-1] == LONGEST_SECONDS
