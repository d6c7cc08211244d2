"""Which pod goes first when Kubernetes takes some away: the one whose end costs least work.

Kubernetes does not ask, but it looks at an annotation of the pods, `controller.kubernetes.io/pod-deletion-cost`, and
takes the lowest. The controller that decides keeps it at what each pod runs.

costs    what the annotation shall be, and which pods are worth a request: pure
api      the two requests to the API server
keeper   beside each decision, on a thread of its own
"""
