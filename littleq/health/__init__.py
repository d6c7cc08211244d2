"""Whether the workers of this machine, or of this container, live and take jobs.

    worker ── writes ──> pulse file (shared memory) <── reads ── `littleq health`

pulse     the file, and the writer's end of it: a few stores in memory
readings  the reader's end: who wrote, and whether they still live
verdict   what follows from it: ready, alive, or why not

Imports nothing but the standard library: a probe starts every few seconds in each pod.
"""
