"""`make demo`: the whole of LittleQ on one machine, in little more than a minute, with nothing left behind.

this process ── a recorded trace, a burst, a trickle ──> embedded Valkey <── worker processes, exporter
     │  │                                                     ^                   │
     │  └── the controller and the pool: how many workers ──── leash ─────────────┘
     └── the monitor, the summary ────── reads ───────────────┘

The same arrivals twice: to a pool that follows the controller's decisions, as `littleq up` has it, and to one of
a fixed size, the mean of the first. Both are real processes on the same machine.

__main__     the story, from start-up to clean-up
app          what the workers run: the reference app, on a slow day of its partner
load         what is sent, and when
fleet        what is started, and how it is stopped again, whatever happens to us
meter        how many workers there were, and what they cost
performance  one pool's turn
view         what is shown while it runs
summary      what it came to
comparison   the two pools side by side
stopping     Ctrl-C and SIGTERM
"""
