"""What watches a fleet, as data: queries, recording rules, alerts and a dashboard.

    littleq.metrics.names ──> queries ──> recording ──> alerts ──> rules      Prometheus' rule groups
                                 │            └────────────────────> dashboard  Grafana's JSON
                                 └──> the query of a ScaledObject

Nothing here asks a server or writes a file: `littleq manifests` does. Every exporter of a fleet shows the same
numbers, so one or two of them may be scraped: whatever is computed here takes the largest of their answers
and never adds them up.
"""
