"""LittleQ's own RedisBroker: Dramatiq's key layout, other scripts.

    send ─ enqueue.lua ─> ready ─ fetch.lua ─> held by a worker ─ fetch.lua (ack) ─> gone
              │             ▲                      │  │  │
              └> schedule ──┘ (fetch.lua, when due)│  │  └ nack.lua ─> dead letters ─ replay.lua ─> ready
                    ▲                              │  └ beat.lua (its worker died) ─> head of ready, or dead as poison
                    └── enqueue.lua (retry) ───────┘

Each arrow is one script: a job is on one side of it or on the other, whatever is killed when. All scripts read the
server's clock; none compares the clocks of two hosts. What a client repeats after a lost answer changes nothing,
except a first send whose job is over already.

A plain Dramatiq process may share the queues while a fleet migrates (docs/redis.md tells what is lost meanwhile).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import redis
from dramatiq import Message
from dramatiq.broker import Consumer
from dramatiq.brokers.redis import RedisBroker as DramatiqRedisBroker
from dramatiq.common import dq_name, q_name

from littleq import job, passage
from littleq.backends.base import Receipt, Sending
from littleq.backends.redis.adoption import adoptable
from littleq.backends.redis.consumer import DelayConsumer, RedisConsumer
from littleq.backends.redis.dead_letters import RedisDeadLetters
from littleq.backends.redis.desk import Ack, Desk
from littleq.backends.redis.outbox import Outbox
from littleq.backends.redis.quick import QuickScript
from littleq.backends.redis.running import RunningJobs
from littleq.backends.redis.scripts import lua
from littleq.backends.redis.sending import Ids
from littleq.backends.redis.urls import redis_client, sibling
from littleq.backends.redis.watch import BEAT, Watch
from littleq.background import survive_forks
from littleq.config.models import DEFAULT_HEARTBEAT_TIMEOUT_SECONDS, DEFAULT_MAX_DELIVERIES
from littleq.dead_letters import fingerprint_of

if TYPE_CHECKING:
    from dramatiq import Middleware
    from dramatiq.broker import MessageProxy

    from littleq.config import Config

#: A worker not heard of for this long is dead, in milliseconds (Dramatiq: 60 s).
HEARTBEAT_TIMEOUT_MS = round(DEFAULT_HEARTBEAT_TIMEOUT_SECONDS * 1000)
#: Dead letters are kept until purged; plain Dramatiq forgets them after this many milliseconds: a century.
KEEP_DEAD_MS = 100 * 365 * 86_400_000
#: A server that does not answer for this long is away, in seconds; without a bound a cut network holds a thread for
#: ever.
SOCKET_TIMEOUT_SECONDS = 10.0
CONNECT_TIMEOUT_SECONDS = 5.0


class RedisBroker(DramatiqRedisBroker):
    """A Dramatiq broker on Redis 6.2 or later, or Valkey.

    Args:
        url: with one of the schemes `redis`, `rediss`, `unix`, `valkey`, `valkeys`, `redis+unix`, `valkey+unix`, or
            `embedded://`.
        client: a `redis.Redis` to use instead; one of a Sentinel (`sentinel.master_for(…)`) too.
        middleware: as for any Dramatiq broker.
        namespace: prefix of all keys.
        heartbeat_timeout: ms after which a worker that was not heard of is dead, and its jobs go back; >= 1000.
            Where only the process died and not its machine they do within a second.
        dead_message_ttl: only plain Dramatiq processes obey it; see `dead_retention_seconds` of a queue.
        max_deliveries: a job whose workers died so often is dead-lettered as `poison`; >= 1.
        watch: start a process beside each worker process that notices its death (see `littleq.backends.redis.watch`).
            Without, all deaths are noticed by the heartbeat.
        parameters: connection parameters of `redis.Redis`.

    `maintenance_chance` is accepted and has no use: nothing here depends on chance.
    """

    def __init__(
        self,
        *,
        url: str | None = None,
        middleware: list[Middleware] | None = None,
        namespace: str = "dramatiq",
        maintenance_chance: int = 0,
        heartbeat_timeout: int = HEARTBEAT_TIMEOUT_MS,
        dead_message_ttl: int = KEEP_DEAD_MS,
        client: redis.Redis | None = None,
        max_deliveries: int = DEFAULT_MAX_DELIVERIES,
        watch: bool = True,
        **parameters: Any,
    ) -> None:
        if client is None and url is not None:
            defaults = {
                "socket_timeout": SOCKET_TIMEOUT_SECONDS,
                "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
                "socket_keepalive": True,
            }
            client = redis_client(url, **{**defaults, **parameters})
        super().__init__(  # type: ignore[no-untyped-call]
            middleware=middleware,
            namespace=namespace,
            maintenance_chance=maintenance_chance,
            heartbeat_timeout=heartbeat_timeout,
            dead_message_ttl=dead_message_ttl,
            client=client,
            **parameters,
        )
        self.max_deliveries = max_deliveries
        self.max_deliveries_of: Mapping[str, int] = {}
        self.global_concurrency: Mapping[str, int] = {}
        self.dead_retention: Mapping[str, float] = {}
        self.own_scripts = {name: QuickScript(self.client, lua(*parts)) for name, parts in _SCRIPTS.items()}
        self.running = RunningJobs()
        survive_forks(self.running)
        self._watched = watch
        self._start_afresh()
        self.add_middleware(self.running.middleware())
        survive_forks(self)

    def configure(self, config: Config) -> None:
        """Take over what the configuration says about queues. Called by `littleq.install`."""
        queues = config.queues.values()
        self.max_deliveries_of = {queue.name: queue.max_deliveries for queue in queues}
        self.global_concurrency = {
            queue.name: queue.concurrency_global for queue in queues if queue.concurrency_global is not None
        }
        self.dead_retention = {
            queue.name: queue.dead_retention_seconds
            for queue in queues
            if queue.dead_retention_seconds is not None
        }

    def _start_afresh(self) -> None:
        """In each process: a forked child is another worker; sharing an id, each would take the other's jobs."""
        self.broker_id = f"littleq-{uuid4()}"
        self._ids = Ids()
        self._outbox = Outbox(self, self._ids)
        self._desks: dict[str, Desk] = {}
        self._bells: redis.ConnectionPool | None = None
        self.watch = Watch(self, spawns=self._watched)

    after_fork_in_child = _start_afresh

    # Sending.

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """As Dramatiq's.

        Raises:
            littleq.passage.QueueFull: to the gate of the stack, which set a bound; to nobody else.
        """
        errand = passage.current.get()
        bound = errand.bound
        sending = Sending(
            message,
            delay,
            bound=None if bound is None else bound.jobs,
            overflow_delay=None if bound is None else bound.overflow_delay,
            held=errand.held if errand.errand == "retry" else None,
        )
        found = self.enqueue_many([sending])[0]
        if found.outcome == "full":
            raise passage.QueueFull(message.queue_name, found.depth)
        if bound is not None:
            bound.overflowed = found.outcome == "deferred"
        return found.message

    def enqueue_many(self, sendings: Sequence[Sending], *, whole: bool = False) -> list[Receipt]:
        """Send messages, 500 with each round trip; the next 500 are prepared while the server takes these in.

        Args:
            sendings: what to send.
            whole: all of them or none, in one round trip however many they are.

        Returns:
            What became of each, in their order. Of `whole` ones either all are in, or those that found no room are
            `full` and the others `gone`.

        Raises:
            redis.RedisError: the server did not answer, or refused; earlier batches are in.
        """
        return self._outbox.send(sendings, whole=whole)

    # Consuming.

    @property
    def consumer_class(self) -> type[RedisConsumer]:
        return RedisConsumer

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """A consumer of a queue, or of what plain Dramatiq processes put into its delay queue."""
        self.watch.start()  # done already, where a Worker consumes
        if queue_name.endswith(dq_name("")):
            return DelayConsumer(self, queue_name, timeout)
        return self.consumer_class(self, queue_name, prefetch, timeout)

    def desk(self, queue_name: str) -> Desk:
        """What this process holds of a queue."""
        return self._desks.setdefault(queue_name, Desk())

    @property
    def bells(self) -> redis.ConnectionPool:
        """Connections that block; a pool of their own, for the client's may be small."""
        if self._bells is None:
            self._bells = sibling(self.client).connection_pool
        return self._bells

    def wake_key(self, queue_name: str) -> str:
        return f"littleq:{self.namespace}:{queue_name}:wake:{self.broker_id}"

    def fetch(
        self, queue_name: str, jobs: int, patience: float, acks: Iterable[Ack]
    ) -> tuple[float, list[bytes], list[bytes | None]]:
        """Settle `acks`, and take up to `jobs` jobs.

        Returns:
            How long to wait if there were none (s), ids, messages.
        """
        args: list[Any] = [self.broker_id, queue_name, jobs, int(patience * 1000)]
        args.append(self.global_concurrency.get(queue_name, 0))
        for ack in acks:
            args += ack
        wait, ids, stored = self._run("fetch", args)
        return wait / 1000, ids, stored

    def give_back(self, queue_name: str, which: str, ids: Sequence[str]) -> int:
        """Put held jobs back to the head of their queue: `these`, or all `others`; how many. See `requeue.lua`."""
        if which == "these" and not ids:
            return 0
        return int(self._run("requeue", [self.broker_id, queue_name, which, *ids]))

    def dead_letter(self, queue_name: str, message: MessageProxy) -> None:
        """Move a held job to the dead letters, with what its options say about its death."""
        try:
            data = bytes(message.encode())
        except Exception:  # an encoder's own errors: what is stored is kept then
            data = b""
        death = job.read(message.options).get("dead", {})
        letter_id = message.options["redis_message_id"]
        mark = fingerprint_of(message.actor_name, death).key if death and data else ""
        self._run("nack", [self.broker_id, queue_name, letter_id, data, message.actor_name, mark])

    def dead_letter_undecodable(self, queue_name: str, redis_message_id: str) -> None:
        """Move a held job that nobody can read to the dead letters, as it is."""
        self._run("nack", [self.broker_id, queue_name, redis_message_id, b"", "", ""])

    def adopt_delayed(self, queue_name: str) -> int:
        """Take jobs that plain Dramatiq processes delayed into the schedule; how many."""
        found = adoptable(self.client, f"{self.namespace}:{dq_name(queue_name)}", queue_name, self._ids)
        return int(self._run("adopt", [queue_name, *found])) if found else 0

    # Operating.

    def flush(self, queue_name: str) -> None:
        """Drop all the jobs of a queue, dead ones too; they count as purged."""
        self._run("flush", [q_name(queue_name)])

    def pause(self, queue_name: str) -> bool:
        """Hand out no job of a queue until it is resumed; False if it was paused already. For all workers, at once."""
        return bool(self._run("pause", [queue_name, "1"]))

    def resume(self, queue_name: str) -> bool:
        """Hand out jobs again; False if the queue was not paused."""
        return bool(self._run("pause", [queue_name, "0"]))

    def cancel(self, queue_name: str, message_id: str) -> int:
        """Take the delayed jobs of a message id away, its pending retry too; how many. They count as purged."""
        return int(self._run("cancel", [queue_name, message_id]))

    def expire_dead_letters(self) -> int:
        """Delete what died longer ago than its queue keeps dead letters; how many. They count as purged."""
        store = RedisDeadLetters(self)
        return sum(store.expire(queue, seconds) for queue, seconds in self.dead_retention.items())

    def beat(self) -> tuple[int, int]:
        """Give a sign of life, and bring back what silent workers held; how many jobs, and how many were poison."""
        running = self.running.ids()
        return self._beat(self.broker_id, "", self.heartbeat_timeout, running)

    def bury(self, worker: str, running: Sequence[str] = ()) -> tuple[int, int]:
        """Bring back what a worker held that is known to be dead. `running`: its jobs that ran; none: not known."""
        return self._beat("", worker, self.heartbeat_timeout, running)

    def _beat(self, alive: str, gone: str, timeout: int, running: Sequence[str]) -> tuple[int, int]:
        args = [alive, gone, timeout, self.deliveries_json(), "1" if running else "", *running]
        back, poison = self._run("beat", args)
        return int(back), int(poison)

    def deliveries_json(self) -> str:
        """The bounds on deliveries, as `beat.lua` reads them."""
        return json.dumps({"default": self.max_deliveries, "queues": dict(self.max_deliveries_of)})

    def close(self) -> None:
        self.watch.stop()
        super().close()

    def _run(self, script: str, args: Sequence[Any]) -> Any:
        return self.own_scripts[script](keys=[self.namespace], args=args)


_SCRIPTS = {
    "enqueue": ("prelude", "enqueue"),
    "fetch": ("prelude", "holding", "fetch"),
    "nack": ("prelude", "letters", "nack"),
    "requeue": ("prelude", "holding", "requeue"),
    "beat": BEAT,
    "adopt": ("prelude", "adopt"),
    "cancel": ("prelude", "cancel"),
    "pause": ("prelude", "pause"),
    "flush": ("prelude", "letters", "flush"),
}
