"""Who may do what at the API server: nothing, unless the controller keeps the cost of deleting a pod."""

from __future__ import annotations

from littleq.manifests.fleet import Fleet
from littleq.manifests.objects import CONTROLLER, SCALER, WORKER, Object, make_object

WORKER_ACCOUNT, CONTROLLER_ACCOUNT, SCALER_ACCOUNT = WORKER, CONTROLLER, SCALER


def service_account(fleet: Fleet, name: str) -> Object:
    """A ServiceAccount without a token: a pod that needs one asks for it itself."""
    return make_object(
        "v1",
        "ServiceAccount",
        name,
        fleet.settings.namespace,
        component=name.removeprefix("littleq-"),
        annotations=fleet.settings.account_annotations,
        automountServiceAccountToken=False,
    )


def controller_rights(fleet: Fleet) -> list[Object]:
    """Role and RoleBinding of the controller, with `deletion_cost` alone.

    The lease by which one of the controllers decides is in the ledger: no Lease of Kubernetes, and no right on one.
    Whoever may patch pods may change more of them than an annotation (their image, for one), which RBAC cannot forbid:
    so this is off unless asked for.
    """
    if not fleet.deletion_cost:
        return []
    namespace = fleet.settings.namespace
    role = make_object(
        "rbac.authorization.k8s.io/v1",
        "Role",
        CONTROLLER,
        namespace,
        component="controller",
        rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "patch"]}],
    )
    binding = make_object(
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        CONTROLLER,
        namespace,
        component="controller",
        roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": CONTROLLER},
        subjects=[{"kind": "ServiceAccount", "name": CONTROLLER_ACCOUNT, "namespace": namespace}],
    )
    return [role, binding]
