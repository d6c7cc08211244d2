"""Time series of faults that fire each alert about them, and of some that come close; see `alert_cases`."""

from __future__ import annotations

from typing import Final

from tests.integration.alert_cases import DECISIONS, PROMISE, Case

IMBALANCE = "sla_queue_imbalance_jobs{Q}"
EXHAUSTED, POISON = (f'sla_dead_letters_total{{Q,reason="{reason}"}}' for reason in ("exhausted", "poison"))
ERRORS = 'sla_internal_errors_total{Q,place="retry"}'
PAGE, LEDGER, BROKER = (f'sla_up{{source="{source}"}}' for source in ("page", "ledger", "broker"))

FAULTS = [
    Case(
        "LittleQExporterDown",
        {PAGE: "0x10"},
        at="5m",
        too_soon="1m",
        value="1",
        quiet={"up": {PAGE: "1x10"}, "a deploy": {PAGE: "1x3 stale 1x6"}},
        labels={},
    ),
    Case(
        "LittleQExporterReplicaDown",
        {
            'up{job="littleq",instance="b:9191"}': "1x5 0x20",
            'sla_up{job="littleq",instance="b:9191",source="page"}': "1x5 stale _x19",
            'up{job="littleq",instance="a:9191"}': "1x25",
            'sla_up{job="littleq",instance="a:9191",source="page"}': "1x25",
        },
        at="20m",
        too_soon="15m",
        value="0",
        quiet={
            "a restart": {'up{job="littleq",instance="b:9191"}': "1x5 0x5 1x15"},
            "removed": {'up{job="littleq",instance="b:9191"}': "1x5 stale _x19"},
            "a target of others": {'sla_up{job="littleq",instance="b:9191",source="page"}': None},
        },
        labels={"job": "littleq", "instance": "b:9191"},
        anywhere=True,
    ),
    Case(
        "LittleQLedgerUnreachable",
        {LEDGER: "0x10"},
        at="5m",
        too_soon="1m",
        value="0",
        quiet={
            "another exporter reads it": {'sla_up{instance="c",source="ledger"}': "1x10"},
            "a failover": {LEDGER: "1x3 0 1x6"},
        },
        labels={"source": "ledger"},
    ),
    Case(
        "LittleQBrokerUnreachable",
        {BROKER: "0x10"},
        at="5m",
        too_soon="1m",
        value="0",
        quiet={
            "another exporter reads it": {'sla_up{instance="c",source="broker"}': "1x10"},
            "a failover": {BROKER: "1x3 0 1x6"},
        },
        labels={"source": "broker"},
    ),
    Case(
        "LittleQDeadLettersGrow",
        {EXHAUSTED: "100x30 108x90", POISON: "0x120"},
        at="40m",
        value="8",
        quiet={
            "five": {EXHAUSTED: "100x30 105x90"},
            "those of before": {EXHAUSTED: "100x120"},
            "slowly": {EXHAUSTED: "100x30 105x70 110x20"},
            "poison": {EXHAUSTED: "100x120", POISON: "0x30 9x90"},
        },
    ),
    Case(
        "LittleQPoisonJob",
        {POISON: "2x10 3x50", EXHAUSTED: "0x60"},
        at="30m",
        value="1",
        quiet={
            "none": {POISON: "2x60"},
            "of another reason": {POISON: "2x60", EXHAUSTED: "0x10 3x50"},
            "an exporter that starts": {POISON: "_x10 3x50"},
        },
        labels={"queue": "realtime", "reason": "poison"},
    ),
    Case(
        "LittleQJobsLost",
        {IMBALANCE: "2x20"},
        at="10m",
        too_soon="4m",
        value="2",
        quiet={
            "none": {IMBALANCE: "0x20"},
            "for a moment": {IMBALANCE: "0x4 2x3 0x14"},
            "exporters that looked while jobs moved": {
                IMBALANCE: "1x20",
                'sla_queue_imbalance_jobs{Q,instance="c"}': "-1x20",
            },
        },
    ),
    Case(
        "LittleQInternalErrors",
        {ERRORS: "4+1x40"},
        at="20m",
        too_soon="5m",
        value="15",
        quiet={"those of before": {ERRORS: "4x40"}, "once": {ERRORS: "4x2 5x40"}},
        labels={"queue": "realtime", "place": "retry"},
    ),
]
CASES: Final = [*PROMISE, *DECISIONS, *FAULTS]
