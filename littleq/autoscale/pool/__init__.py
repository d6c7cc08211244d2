"""Worker processes on this machine, as many as are decided: what `littleq up` runs.

    decisions (ledger), queues (broker)                    this process                    one process a worker
    ──────────────────────────────────                     ────────────                    ────────────────────
    sight.Lookout, twice a second  ──> supervisor.Supervisor ── processes.Launcher ──> child: ElasticWorker
                                         plan: whom to start and stop   └── leash ───>      part: exporter, scheduler
                                         backoff: when, after a death

`plan` and `sight.is_waiting` decide, by values alone; `processes` acts; `local.LocalPool` puts it together, with the
controller. A child says when it takes jobs and, asked, how many it runs, so that an idle one can be told from a busy
one on any broker. Nothing here is on the path of a job.

Known weakness. One pool runs a fleet: two on two machines would both start what is decided, since a decision is
about the queue and not about a machine. A stopping worker cannot be called back: where demand returns within
seconds another process is started.
"""
