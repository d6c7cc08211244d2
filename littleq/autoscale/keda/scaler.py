"""The four calls of KEDA's external scaler.

    triggers:
      - type: external-push
        metadata: {scalerAddress: "littleq-scaler:6000", queue: realtime}

A decision that is stale, or that does not exist, is an error, never 0: KEDA then holds the replicas and uses its
fallback. `StreamIsActive` says nothing while nobody can tell, and what it said last goes on.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any, Final, NoReturn

import grpc

from littleq.autoscale.keda import protocol
from littleq.autoscale.keda.watch import Sight, Watch
from littleq.metrics.steps import stepped

#: Keys of a trigger's metadata.
QUEUE, GAUGE = "queue", "gauge"
#: What `gauge` may be: the decision, or the same rounded up for an HPA with a tolerance (Kubernetes before 1.35).
GAUGES: Final = ("desired", "stepped")


class Scaler:
    """Answers KEDA.

    Args:
        watch: looks at the queues; its task must run.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    async def is_active(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Whether the queue needs a worker at all.

        Errors: INVALID_ARGUMENT, NOT_FOUND, and UNAVAILABLE while nobody can tell.
        """
        queue, _ = await _wanted(request, context)
        sight = await self._known(queue, context)
        active = sight.is_active
        if active is None:
            await _refuse(context, grpc.StatusCode.UNAVAILABLE, _undecided(queue, sight))
        return protocol.IsActiveResponse(result=active)

    async def stream_is_active(self, request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        """The same, and each change as soon as it is seen: a job in an empty queue within 0.2 s."""
        queue, _ = await _wanted(request, context)
        await self._known(queue, context)
        states = self._watch.states(queue)
        try:
            async for active in states:
                yield protocol.IsActiveResponse(result=active)
        finally:
            await states.aclose()  # type: ignore[attr-defined]

    async def get_metric_spec(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """One worker a pod: as an AverageValue of 1, the value is the number of replicas."""
        queue, _ = await _wanted(request, context)
        spec = protocol.MetricSpec(metricName=metric_name(queue), targetSize=1, targetSizeFloat=1.0)
        return protocol.GetMetricSpecResponse(metricSpecs=[spec])

    async def get_metrics(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """The decision.

        Errors: INVALID_ARGUMENT, NOT_FOUND, and UNAVAILABLE while there is none that may be acted on.
        """
        queue, gauge = await _wanted(request.scaledObjectRef, context)
        sight = await self._known(queue, context)
        desired = sight.desired_workers
        if desired is None:
            await _refuse(context, grpc.StatusCode.UNAVAILABLE, _undecided(queue, sight))
        workers = stepped(desired) if gauge == "stepped" else desired
        # KEDA reads the float where it is above 0, else the whole number: one alone would not say 0.
        value = protocol.MetricValue(
            metricName=metric_name(queue), metricValue=workers, metricValueFloat=float(workers)
        )
        return protocol.GetMetricsResponse(metricValues=[value])

    async def _known(self, queue: str, context: grpc.aio.ServicerContext) -> Sight:
        sight = await self._watch.sight(queue)
        if not sight.known and sight.ledger:
            await _refuse(
                context,
                grpc.StatusCode.NOT_FOUND,
                f"Nobody has decided about a queue {queue!r}: name it in littleq.toml, or start a worker for it.",
            )
        return sight

    def handlers(self) -> Any:
        """The service, for a server."""
        calls = {
            "IsActive": grpc.unary_unary_rpc_method_handler(
                self.is_active,
                protocol.ScaledObjectRef.FromString,
                protocol.IsActiveResponse.SerializeToString,
            ),
            "StreamIsActive": grpc.unary_stream_rpc_method_handler(
                self.stream_is_active,
                protocol.ScaledObjectRef.FromString,
                protocol.IsActiveResponse.SerializeToString,
            ),
            "GetMetricSpec": grpc.unary_unary_rpc_method_handler(
                self.get_metric_spec,
                protocol.ScaledObjectRef.FromString,
                protocol.GetMetricSpecResponse.SerializeToString,
            ),
            "GetMetrics": grpc.unary_unary_rpc_method_handler(
                self.get_metrics,
                protocol.GetMetricsRequest.FromString,
                protocol.GetMetricsResponse.SerializeToString,
            ),
        }
        return grpc.method_handlers_generic_handler(protocol.SERVICE, calls)


def metric_name(queue: str) -> str:
    """What a queue's metric is called in the HPA that KEDA makes.

    >>> metric_name("mail.bulk")
    'littleq-mail-bulk'
    """
    return "littleq-" + re.sub(r"[^a-z0-9]+", "-", queue.lower()).strip("-")


async def _wanted(reference: Any, context: grpc.aio.ServicerContext) -> tuple[str, str]:
    """The queue, and which number of it."""
    metadata = reference.scalerMetadata
    queue, gauge = metadata.get(QUEUE, "").strip(), metadata.get(GAUGE, GAUGES[0])
    problem = ""
    if not queue:
        problem = "The trigger's metadata names no queue: add queue: <its name>."
    elif gauge not in GAUGES:
        problem = f"The trigger's metadata has the gauge {gauge!r}: it may be {' or '.join(GAUGES)}."
    if problem:
        await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, problem)
    return queue, gauge


def _undecided(queue: str, sight: Sight) -> str:
    if sight.decision is not None:
        return (
            f"The last decision about queue {queue!r} is {sight.age_seconds:.0f} s old, too old to act on: see whether "
            "the controller runs and reaches its servers."
        )
    if not sight.ledger:
        return "The ledger does not answer: see whether its server runs."
    return f"Nobody has decided about queue {queue!r} yet: see whether the controller runs."


async def _refuse(context: grpc.aio.ServicerContext, code: grpc.StatusCode, sentence: str) -> NoReturn:
    await context.abort(code, sentence)
    raise AssertionError("abort raises")  # pragma: no cover - for the reader, and for mypy
