"""`make demo`: the whole of LittleQ on one machine, in at most a minute, with nothing left behind.

this process ── a replayed trace, a burst, a trickle ──> embedded Valkey <── 2 workers, exporter
     │                                                        ^                   │
     └── the monitor, the summary ─────── reads ──────────────┘      watchdog ────┘

__main__    the story, from start-up to clean-up
load        what is sent, and when
fleet       what is started, and how it is stopped again, whatever happens to us
watchdog    a program: ends the workers when this process is gone
view        what is shown while it runs
summary     what it came to
stopping    Ctrl-C and SIGTERM
"""
