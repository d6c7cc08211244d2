"""An external scaler for KEDA: the decisions over gRPC, and a push when a job enters an empty queue.

    KEDA ── IsActive, GetMetricSpec, GetMetrics ──> Scaler ──> Watch ──> ledger: decisions
    KEDA <── StreamIsActive: true, false ────────── Scaler <── Watch <── broker: depths, ten times a second

protocol  the messages and the service of KEDA's protocol
watch     one look at broker and ledger for all who ask
scaler    the four calls
serving   the server, its TLS and its end
"""
