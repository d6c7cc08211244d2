"""Names that Kubernetes takes, for any queue that Dramatiq takes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littleq.config import SLAQueueConfig
from littleq.errors import ConfigurationError
from littleq.manifests import Settings
from littleq.manifests.objects import LONGEST_SLUG, queue_slug, worker_name
from tests.clusters import make_fleet

QUEUES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9._-]{0,80}", fullmatch=True)


@given(QUEUES)
def test_a_slug_is_a_legal_name_and_a_legal_value_of_a_label(queue: str) -> None:
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", queue_slug(queue))
    assert len(f"keda-hpa-{worker_name(queue)}") <= 63


@given(st.sets(QUEUES, min_size=2, max_size=20))
def test_two_queues_never_share_a_name(queues: set[str]) -> None:
    assert len({queue_slug(queue) for queue in queues}) == len(queues)


@pytest.mark.parametrize("queue", ["realtime", "a", "mail-bulk", "q2", "x" * LONGEST_SLUG])
def test_a_name_that_is_legal_stays(queue: str) -> None:
    assert queue_slug(queue) == queue


@pytest.mark.parametrize(
    "queue", ["Mail", "mail.bulk", "mail_bulk", "mail-", "a--b", "_", "x" * (LONGEST_SLUG + 1)]
)
def test_a_name_that_has_to_change_gets_a_mark_of_its_own(queue: str) -> None:
    assert re.fullmatch(r"(.*-)?[0-9a-f]{6}", queue_slug(queue))


def test_a_name_that_looks_like_anothers_with_its_mark_is_refused() -> None:
    other = queue_slug("mail.bulk")
    with pytest.raises(
        ConfigurationError, match=r"would both be 'mail-bulk-[0-9a-f]{6}' in Kubernetes: rename one"
    ):
        make_fleet(SLAQueueConfig("mail.bulk"), SLAQueueConfig(other))


def test_no_queue_is_nothing_to_run() -> None:
    from littleq.config import Config
    from littleq.manifests import Fleet

    for queues in ({}, {"littleq.control": SLAQueueConfig("littleq.control", admission="off")}):
        with pytest.raises(ConfigurationError, match="No queue is configured"):
            Fleet(Config(queues=queues), Settings("shop:1"))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"image": ""}, "image is ''"),
        ({"image": "shop 1"}, "image is 'shop 1'"),
        ({"namespace": "Shop"}, "namespace is 'Shop'"),
        ({"namespace": "x" * 64}, "at most 63"),
        ({"cpu": "lots"}, "cpu is 'lots'"),
        ({"memory": "256 MB"}, "memory is '256 MB'"),
        ({"kubernetes": (1, 22)}, "kubernetes is 1.22: it must be 1.23 or later"),
        ({"grace": 0.0}, "grace is 0.0"),
        ({"grace": float("inf")}, "grace is inf"),
    ],
)
def test_a_wrong_setting_is_refused_in_a_sentence(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        Settings(**{"image": "shop:1", **wrong})  # type: ignore[arg-type]


def test_images_by_tag_digest_and_port_are_legal() -> None:
    for image in ("littleq:1.0", "localhost:5000/team/shop:1.4-rc.1", f"shop@sha256:{'a1' * 32}"):
        assert Settings(image).image == image
