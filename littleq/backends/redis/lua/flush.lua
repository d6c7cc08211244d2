-- Drops all jobs of a queue: ready, held, delayed and dead. ARGV 1 queue. Answers how many there were.
-- Invariant: each is counted as purged in the step in which it goes; whoever holds one holds nothing from now on.

local queue = ARGV[1]
local dead = dead_of(queue)
local dropped = redis.call("HLEN", messages_of(queue)) + redis.call("HLEN", delayed_of(queue)) + redis.call("ZCARD", dead)
forget_all_letters(namespace, queue)
redis.call("DEL", list_of(queue), messages_of(queue), list_of(queue .. ".DQ"), delayed_of(queue), dead, dead .. ".msgs")
for _, what in ipairs({ "schedule", "schedule:ids", "order", "deliveries", "poison" }) do
    redis.call("DEL", own(queue, what))
end
for _, worker in ipairs(redis.call("ZRANGE", heartbeats, 0, -1)) do
    redis.call("DEL", held_by(worker, queue), held_by(worker, queue .. ".DQ"))
end
account(queue, "purged", dropped)
return dropped
