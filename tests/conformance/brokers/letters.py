"""Jobs that die: kept with their story, looked at, sent back to work, deleted."""

from __future__ import annotations

from typing import Any

from dramatiq import Message

from tests.conformance.brokers.live import Live
from tests.conformance.brokers.stage import App


def dead(app: App, queue: str, number: int) -> Any:
    """The letter of a job that has died."""

    def found() -> Any:
        letters = app.backend.dead_letters.letters(queue)
        return next((letter for letter in letters if letter.args[:1] == (number,)), None)

    return app.until(found, what=f"the dead letter of {number} in {queue}")


def test_a_dead_job_is_kept_with_its_story(live: Live) -> None:
    app, queue = live.app, live["hurt"]
    store = app.backend.dead_letters
    began_at = store.now()
    app.send(queue, 101, "ill")
    letter = dead(app, queue, 101)
    assert (letter.queue, letter.actor, tuple(letter.args)) == (queue, f"act-{queue}", (101, "ill"))
    death = letter.death
    assert (death["reason"], death["exception"], death["attempts"]) == (
        "exhausted",
        "builtins.ValueError",
        3,
    ) or (death["exception"] == "ValueError"), death
    assert "job 101 is ill" in death["message"] and "ValueError" in death["traceback"]
    assert began_at - 0.5 < letter.died_at < store.now() + 0.5
    assert app.numbers(queue, "began").count(101) == 3
    again = store.get(queue, letter.letter_id)
    assert again is not None and again.message_id == letter.message_id
    assert [found.letter_id for found in store.letters(queue)].count(letter.letter_id) == 1, "looked at twice"
    store.purge(queue, [letter.letter_id])


def test_letters_are_listed_filtered_and_grouped(live: Live) -> None:
    app, queue = live.app, live["hurt"]
    store = app.backend.dead_letters
    for number in (111, 112, 113):
        app.send(queue, number, "ill")
    letters = [dead(app, queue, number) for number in (111, 112, 113)]
    ids = {letter.letter_id for letter in letters}
    assert set(store.letter_ids(queue)) == ids
    assert store.count(queue) in (3, None)
    assert not list(store.letters(queue, actor="nobody"))
    assert not list(store.letters(queue, until=min(letter.died_at for letter in letters)))
    [group] = store.groups(queue)
    assert (group.letters, group.fingerprint.reason) == (3, "exhausted")
    assert {found.letter_id for found in store.letters(queue, fingerprint=group.fingerprint.key)} == ids
    app.until(lambda: app.truth(queue).dead == 3, what="three dead jobs")
    assert store.whereabouts(queue, letters) == dict.fromkeys(ids, "dead")
    assert store.purge(queue, [letters[0].letter_id]) == 1
    assert store.purge(queue, [letters[0].letter_id]) == 0
    assert store.get(queue, letters[0].letter_id) is None
    assert store.expire(queue, 3600) == 0
    assert store.expire(queue, 0) == 2
    assert list(store.letters(queue)) == []
    app.until(lambda: app.truth(queue).dead == 0, what="no dead job")


def test_a_replayed_job_has_all_its_attempts_again(live: Live) -> None:
    app, queue = live.app, live["hurt"]
    store = app.backend.dead_letters
    app.send(queue, 121, "ill")
    letter = dead(app, queue, 121)
    app.touch(f"{queue}-cured")
    assert store.replay(queue, letter.letter_id) is True
    live.replayed[queue] += 1
    app.ran(queue, 121)
    assert store.replay(queue, letter.letter_id) is False
    last = [line for line in app.log(queue, "began") if line["n"] == 121][-1]
    assert last["retries"] == 0 and "dead" not in last["record"]
    assert list(store.letters(queue)) == []
    app.until(lambda: store.whereabouts(queue, [letter])[letter.letter_id] == "gone", what="the ack")
    (app.folder / f"{queue}-cured").unlink()


def test_what_cannot_be_read_or_run_is_kept_and_the_queue_goes_on(live: Live) -> None:
    app, queue = live.app, live["broken"]
    strange = live.stage.subject.shared  # where nobody else writes to the queue, nothing strange comes
    if strange:
        live.stage.subject.inject(app.broker, queue, b"\xff is no message")
    app.broker.enqueue(Message(queue, "nobody", (2,), {}, {}))
    app.send(queue, 3)
    app.ran(queue, 3)
    letters = app.letters(queue, 1 + strange)
    assert len(letters) == 1 + strange
    assert {letter.death["reason"] for letter in letters} == {"undeliverable"}
    unknown = next(letter for letter in letters if letter.actor == "nobody")
    assert tuple(unknown.args) == (2,)
    assert app.backend.dead_letters.purge(queue, [unknown.letter_id]) == 1


def test_letters_are_looked_at_by_another_process(live: Live) -> None:
    """Or by another broker object in this one: an operator's."""
    app, queue = live.app, live["hurt"]
    app.send(queue, 131, "ill")
    letter = dead(app, queue, 131)
    if not live.stage.subject.shared:
        assert app.can.restart.value is False
        other = live.stage.app({queue: {}})
        assert list(other.backend.dead_letters.letters(queue)) == []
    else:
        other = live.stage.app({queue: {}})
        [seen] = other.backend.dead_letters.letters(queue)
        assert seen.letter_id == letter.letter_id
        assert other.backend.dead_letters.get(queue, letter.letter_id) is not None
        assert other.backend.dead_letters.purge(queue, [letter.letter_id]) == 1
        return
    assert app.backend.dead_letters.purge(queue, [letter.letter_id]) == 1
