"""Letters in queue q of a real server, dead in all the ways that there are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker

from littleq.backends.redis.dead_letters import RedisDeadLetters
from littleq.backends.redis.scripts import lua
from littleq.dead_letters import fingerprint, fingerprint_of

DEAD, OWN = "dramatiq:q.XQ", "littleq:dramatiq:q:"
#: Dies as our own broker lets a job die: indexed in the same step.
DIE = """
redis.call("ZADD", KEYS[1] .. ":q.XQ", ARGV[2], ARGV[1])
redis.call("HSET", KEYS[1] .. ":q.XQ.msgs", ARGV[1], ARGV[3])
index_letter(KEYS[1], "q", ARGV[1], ARGV[2], ARGV[4], ARGV[5])
"""


class Morgue:
    """Lets jobs die in queue q in all the ways that there are."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.store = RedisDeadLetters(RedisBroker(client=client))
        self.script = client.register_script(lua("letters") + DIE)
        self.begin()

    def begin(self) -> None:
        """With no letters, ten hours ago by the server's clock."""
        self.client.flushall()
        self.lost: set[bytes] = set()
        self.now = int(self.store.now() * 1000) - 36_000_000

    def message(self, number: int, actor: str = "send", line: int = 1) -> Message[Any]:
        death = {
            "reason": "exhausted",
            "exception": "builtins.ValueError",
            "traceback": f'  File "/srv/mail.py", line {line}, in f\n',
        }
        options = {"redis_message_id": f"id-{number}", "littleq": {"ready_at": 1.0, "dead": death}}
        return Message("q", actor, (number,), {}, options, f"m-{number}", 0)

    def die(self, message: Message[Any], age: float) -> None:
        """As with our broker."""
        key = fingerprint_of(message.actor_name, message.options["littleq"]["dead"]).key
        args = [
            message.options["redis_message_id"],
            self.died(age),
            message.encode(),
            message.actor_name,
            key,
        ]
        self.script(keys=["dramatiq"], args=args)

    def die_elsewhere(self, messages: Iterable[Message[Any]], age: float) -> None:
        """As with Dramatiq's own broker."""
        pipe = self.client.pipeline()
        for message in messages:
            pipe.zadd(DEAD, {message.options["redis_message_id"]: self.died(age)})
            pipe.hset(DEAD + ".msgs", message.options["redis_message_id"], message.encode())
        pipe.execute()

    def lose_elsewhere(self, age: float) -> None:
        """As Dramatiq lets letters of this age expire, or deletes all of a queue. No job comes back from that."""
        old = self.client.zrangebyscore(DEAD, 0, self.died(age))
        self.lost.update(old)
        if old:
            self.client.zrem(DEAD, *old)
            self.client.hdel(DEAD + ".msgs", *old)

    def expire(self, age: float) -> int:
        return self.store.expire("q", self.store.now() - self.died(age) / 1000)

    def died(self, age: float) -> int:
        return self.now - round(age * 1000)

    def index_agrees(self) -> None:
        """Each letter is indexed under what it is, nothing else is, and no key is left over."""
        dead = dict(self.client.zrange(DEAD, 0, -1, withscores=True))
        assert set(self.client.hkeys(DEAD + ".msgs")) == set(dead)
        expected: dict[bytes, dict[bytes, float]] = {}
        actors, keys = set(), set()
        for letter in self.store.letters("q"):
            mark, letter_id = fingerprint(letter), letter.letter_id.encode()
            actors.add(letter.actor.encode())
            keys.add(mark.key.encode())
            for name in (f"{letter.actor}:by_actor", f"{mark.key}:by_fingerprint"):
                expected.setdefault(f"{OWN}dead:{name}".encode(), {})[letter_id] = dead[letter_id]
        found = {key: key.decode().removeprefix(OWN + "dead:") for key in self.client.keys(OWN + "dead:*")}
        sets = {key for key, name in found.items() if ":" in name}
        assert {key: dict(self.client.zrange(key, 0, -1, withscores=True)) for key in sets} == expected
        assert set(self.client.hkeys(OWN + "dead:index")) == set(dead)
        assert self.client.smembers(OWN + "dead:actors") == actors
        assert self.client.smembers(OWN + "dead:fingerprints") == keys
