"""Queues in virtual time: the product's own policies, and others, on the same jobs.

    workload   when jobs arrive and how long each takes: a trace, or a shape, and a distribution
    engine     first come, first served; workers that take time to start and finish their job before they go
    policies   who decides how many workers there are: LittleQ, and the baselines as their systems document them
    oracle     what one who knows the future would have paid
    outcome    what came of it

All chance is in the workload, drawn from one seed before anything runs, so that every policy meets the same jobs.
"""
