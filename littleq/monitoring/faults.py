"""Alerts about LittleQ itself: numbers that cannot be had, and jobs that died or are lost."""

from __future__ import annotations

from typing import Final

from littleq.metrics import names
from littleq.monitoring.alert import Alert
from littleq.monitoring.recording import counter

#: Fewer dead letters in an hour are what a dead-letter queue is for. Somewhat arbitrary.
DEAD_LETTERS: Final = 5


def _exporter_down() -> Alert:
    return Alert(
        name="LittleQExporterDown",
        severity="page",
        expression=f'absent({names.UP.name}{{source="page"}} == 1)',
        lasting="2m",
        condition="No exporter is scraped that makes the page.",
        summary="No exporter of LittleQ can be scraped.",
        description="Prometheus has no numbers of LittleQ: scalers hold what they have, and no other alert "
        "can fire.",
        runbook="Prometheus' page /targets says why; start `littleq exporter` (or the controller pods), or "
        "read its log.",
    )


def _replica_down() -> Alert:
    page = f'{names.UP.name}{{source="page"}}'
    return Alert(
        name="LittleQExporterReplicaDown",
        severity="ticket",
        # By what it once showed, since nobody knows how the job is called.
        expression=f"up == 0 and on (job, instance) count_over_time({page}[1d]) > 0",
        lasting="10m",
        condition="A target that served LittleQ's metrics within the last day is still listed and cannot be "
        "scraped.",
        summary="The exporter {{ $labels.instance }} cannot be scraped.",
        description="The exporter {{ $labels.instance }} has been away for 10 min. As long as another one is "
        "there no number is missing.",
        runbook="Prometheus' page /targets says why; restart that `littleq exporter` (or controller pod), or "
        "read its log.",
    )


def _source_down(source: str, means: str) -> Alert:
    return Alert(
        name=f"LittleQ{source.capitalize()}Unreachable",
        severity="page",
        expression=f'max by (source) ({names.UP.name}{{source="{source}"}}) == 0',
        lasting="2m",
        condition=f"No exporter can read the {source}.",
        summary=f"LittleQ cannot read the {source}.",
        description=f"For 2 min no exporter could read the {source}: {means}",
        runbook="`littleq audit` from a worker's machine says whether it is the server or the way to it; the "
        "exporter's log has the error.",
    )


def _dead_letters() -> Alert:
    letters = f'{counter(names.DEAD_LETTERS)}{{reason!="poison"}}'
    return Alert(
        name="LittleQDeadLettersGrow",
        severity="ticket",
        # Half more: what `increase` tells is extrapolated.
        expression=f"sum by (queue) (increase({letters}[1h])) > {DEAD_LETTERS + 0.5}",
        lasting="0m",
        condition=f"More than {DEAD_LETTERS} jobs were dead-lettered within an hour, poison jobs apart.",
        summary="Jobs of queue {{ $labels.queue }} die.",
        description='{{ $value | printf "%.0f" }} jobs of queue {{ $labels.queue }} were dead-lettered within the last '
        "hour.",
        runbook="`littleq dlq list --queue {{ $labels.queue }} --group` shows the accidents; mend the cause, "
        "then `littleq dlq replay` with a canary first.",
    )


def _poison() -> Alert:
    return Alert(
        name="LittleQPoisonJob",
        severity="ticket",
        expression=f'increase({counter(names.DEAD_LETTERS)}{{reason="poison"}}[1h]) > 0',
        lasting="0m",
        condition="A job was dead-lettered within an hour since it killed its workers (`poison`).",
        summary="A job of queue {{ $labels.queue }} kills its workers.",
        description="A job of queue {{ $labels.queue }} was taken up max_deliveries times and its worker "
        "died each time. It is in the dead letters now.",
        runbook="`littleq dlq list --queue {{ $labels.queue }}`, `littleq dlq show` for its arguments: look "
        "for memory or a crash in C code; do not replay it before.",
    )


def _lost() -> Alert:
    imbalance = names.IMBALANCE.name
    return Alert(
        name="LittleQJobsLost",
        severity="page",
        # All exporters agree on the sign: two that looked while jobs moved do not.
        expression=f"min by (queue) ({imbalance}) > 0 or max by (queue) ({imbalance}) < 0",
        lasting="5m",
        condition="Admitted jobs and those accounted for differ, for all exporters and in the same "
        "direction.",
        summary="The accounts of queue {{ $labels.queue }} do not balance.",
        description="{{ $value }} jobs of queue {{ $labels.queue }} were admitted and are nowhere (below 0: "
        "are there and were never admitted).",
        runbook="`littleq audit --queue {{ $labels.queue }}` shows the accounts; has somebody deleted keys, "
        "or restored the server from a backup?",
    )


def _internal() -> Alert:
    return Alert(
        name="LittleQInternalErrors",
        severity="ticket",
        expression=f"increase({counter(names.INTERNAL_ERRORS)}[15m]) > 0",
        lasting="5m",
        condition="LittleQ itself has failed within 15 min, and failed open.",
        summary="LittleQ fails at {{ $labels.place }}.",
        description='{{ $value | printf "%.0f" }} failures inside LittleQ (queue {{ $labels.queue }}, place '
        "{{ $labels.place }}) within 15 min. It fails open: jobs run, but that part does not do its work.",
        runbook="The workers' and producers' logs name the error; `littleq audit` tells whether the server "
        "answers.",
    )


def fault_alerts() -> list[Alert]:
    """In the order of `docs/alerts.md`."""
    return [
        _exporter_down(),
        _replica_down(),
        _source_down("ledger", "no decision can be made or seen, and most numbers are missing."),
        _source_down("broker", "depths are missing, and decisions are made blindly."),
        _dead_letters(),
        _poison(),
        _lost(),
        _internal(),
    ]
