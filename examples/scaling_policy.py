"""LittleQ's scaling policy, driven by values alone: what is seen goes in, a number of workers comes out."""

import json
from collections import deque

from littleq.policies.scaling import Observation, ScalingSettings, ScalingState, decide

settings = ScalingSettings(sla_seconds=10.0)  # 99 % of the jobs; one thread a worker; a decision each 5 s
queue: deque[float] = deque()  # the jobs that wait, by arrival
orders: list[float] = []  # the workers that start, by when they will be ready
workers, clock, state = 10, 0.0, None
services = breached = 0  # counters, as all but the gauges: they only grow

for now in range(5, 1201, 5):
    # The world: a job takes 0.5 s, and is served at the moment when it begins. From minute 5 to 10 the rate rises.
    rate = min(40, max(10, 10 + (now - 300) // 10))
    queue.extend(now - 5 + k / rate for k in range(5 * rate))
    workers, orders = workers + sum(at <= now for at in orders), [at for at in orders if at > now]
    while queue and (begins := max(clock, queue[0])) < now:
        breached += begins - queue.popleft() > settings.sla_seconds
        services, clock = services + 1, begins + 0.5 / workers
    # What is seen of it, and what is decided. The state is kept as JSON in between, as the controller does.
    seen = Observation(
        now=now, offered=services + len(queue), ready=len(queue), in_flight=0, workers=workers, starting=len(orders),
        services=services, service_seconds=services * 0.5, service_seconds_squared=services * 0.5**2,
        timed=services, breached=breached, oldest_age=now - queue[0] if queue else 0.0,
    )  # fmt: skip
    decision, state = decide(settings, seen, state)
    state = ScalingState.from_dict(json.loads(json.dumps(state.as_dict())))
    # What is done about it: `desired` is the whole pool. A new worker is ready 30 s later.
    desired = decision.desired_workers
    if now % 120 == 0:
        print(f"{now:4} s: {rate}/s, {workers:2} workers and {len(orders)} starting -> {desired}")
    orders += [now + 30.0] * (desired - workers - len(orders))
    del orders[max(0, desired - workers) :]
    workers = min(workers, desired)
print(f"{breached} of {services} jobs waited longer than {settings.sla_seconds:g} s. {decision.reason}")
