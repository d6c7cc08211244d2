"""What a Kubernetes cluster is told, from what littleq.toml says: a configuration in, plain dicts out.

    Config ─┐
            ├─> Fleet ──> objects, one idea a module ──> tree: files by path ──> writing: YAML
    Settings┘                                               └──> drift: what others have instead

Nothing here reads a file, asks a server or looks at the clock: the same configuration gives the same bytes, which is
what `littleq manifests --check` rests on.

    settings       what a cluster is, and littleq.toml does not say: image, namespace, version, …
    fleet          both together, and the queues that get workers
    objects        names, labels, metadata
    sizing         numbers that are derived, each with the reason
    pods           what all pods share: user, file systems, variables, probes
    workers, control, access, configuration, network, disruption     the base
    scaledobjects, hpa                                               what scales it, one of them
    plain                                                            the same without a decision: KEDA asks the broker
    watching, trial                                                  beside it: monitoring, and a Redis to try it with
    cautions       where the promise cannot hold
"""

from littleq.manifests.fleet import Fleet
from littleq.manifests.settings import Settings, TimeLimit

__all__ = ["Fleet", "Settings", "TimeLimit"]
