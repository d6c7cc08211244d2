"""What an alert is: a rule of Prometheus with words for whoever it wakes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from littleq.metrics import names

#: `page`: jobs are late or lost now, somebody has to look at once. `ticket`: it can wait for the working day.
Severity = Literal["page", "ticket"]


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert.

    Attributes:
        name: begins with LittleQ, so that it is found among those of other systems.
        severity: `page` or `ticket`.
        expression: PromQL, with at most one sample for each queue (place, source, instance).
        lasting: how long the expression must hold, as Prometheus spells it.
        condition: the expression in words, for `docs/alerts.md`.
        summary: what is the matter, in one line; a template of Prometheus.
        description: what it means, with the values; a template of Prometheus.
        runbook: what to look at and do first, in one line, with the command.
    """

    name: str
    severity: Severity
    expression: str
    lasting: str
    condition: str
    summary: str
    description: str
    runbook: str

    def rule(self) -> dict[str, Any]:
        """The same as in a rules file of Prometheus."""
        return {
            "alert": self.name,
            "expr": self.expression,
            "for": self.lasting,
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook": self.runbook,
            },
        }


def largest(metric: names.Metric, matchers: str = "") -> str:
    """A gauge by queue, however many exporters show it.

    >>> largest(names.PAUSED)
    'max by (queue) (sla_queue_paused)'
    """
    return f"max by (queue) ({metric.name}{f'{{{matchers}}}' if matchers else ''})"
