"""How a worker process ends: without a job more from the first moment on, with nothing lost, and saying why.

drain     stop fetching, give back, hand back what outlasts the grace period
endings   exit codes, and the sentence that Kubernetes shows
launch    what `littleq worker` becomes: Dramatiq, which says at its end why
"""
