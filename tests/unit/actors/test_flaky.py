from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from dramatiq import Message
from dramatiq.middleware import CurrentMessage

NUMBERS = range(1_000)


@pytest.fixture(autouse=True)
def _no_latency(app: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.flaky, "LATENCY_SECONDS", 0)


def _fails(actor: object, error: type[Exception], number: int) -> bool:
    try:
        assert actor(number) is None  # type: ignore[operator]
    except error:
        return True
    return False


def test_the_partner_fails_for_its_share_of_first_attempts(app: ModuleType) -> None:
    down = sum(_fails(app.call_partner, app.flaky.PartnerUnavailable, number) for number in NUMBERS)
    # Four standard errors of a share of 0.2 over 1,000 numbers: a hash is as even as chance, no more.
    assert down / len(NUMBERS) == pytest.approx(app.flaky.OUTAGE_SHARE, abs=0.05)


@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_each_retry_has_a_fresh_chance(app: ModuleType, attempt: int) -> None:
    fell = [str(n) for n in range(5_000) if app.flaky.is_partner_down(str(n), attempt - 1)]
    again = sum(app.flaky.is_partner_down(job, attempt) for job in fell)
    assert again / len(fell) == pytest.approx(app.flaky.OUTAGE_SHARE, abs=0.05)


def test_two_retries_cure_almost_every_call(app: ModuleType) -> None:
    lost = [n for n in NUMBERS if all(app.flaky.is_partner_down(str(n), attempt) for attempt in range(3))]
    assert len(lost) / len(NUMBERS) < 0.02  # 0.2 ** 3 = 0.8 %


def test_the_attempt_is_counted_by_the_message(app: ModuleType) -> None:
    """The same job, at the attempt where it was down and at the first one where it is not."""
    job = next(str(n) for n in NUMBERS if app.flaky.is_partner_down(str(n), 0))
    context: Any = CurrentMessage()
    cured = next(attempt for attempt in range(1, 9) if not app.flaky.is_partner_down(job, attempt))
    for attempt in range(cured + 1):
        message: Message[None] = app.call_partner.message(5).copy(
            message_id=job, options={"retries": attempt} if attempt else {}
        )
        context.before_process_message(app.broker, message)
        try:
            assert _fails(app.call_partner, app.flaky.PartnerUnavailable, 5) is (attempt < cured)
        finally:
            context.after_process_message(app.broker, message)


def test_an_outage_is_a_connection_error(app: ModuleType) -> None:
    """So a route for `ConnectionError` covers it."""
    assert issubclass(app.flaky.PartnerUnavailable, ConnectionError)


def test_bad_rows_have_their_share_and_stay_bad(app: ModuleType) -> None:
    first = [n for n in NUMBERS if _fails(app.import_row, ValueError, n)]
    second = [n for n in NUMBERS if _fails(app.import_row, ValueError, n)]
    assert first == second
    assert len(first) / len(NUMBERS) == pytest.approx(app.flaky.BAD_ROW_SHARE, abs=0.03)
