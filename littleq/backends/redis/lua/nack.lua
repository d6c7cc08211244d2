-- Moves a job that a worker holds to the dead letters.
--
-- ARGV 1 worker  2 queue  3 id  4 message with the reason of death, "" to keep what is stored  5 actor  6 fingerprint
-- Invariant: in one step the job is held, then dead; if this worker has lost it to another, nothing happens.

local worker, queue, id, data = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
must_be_sound(queue)
if redis.call("SREM", held_by(worker, queue), id) == 0 then
    return 0
end
redis.call("ZREM", own(queue, "order"), id)
redis.call("HDEL", own(queue, "deliveries"), id)
local stored = redis.call("HGET", messages_of(queue), id)
if not stored then
    return 0
end
redis.call("HDEL", messages_of(queue), id)
redis.call("ZADD", dead_of(queue), now(), id)
redis.call("HSET", dead_of(queue) .. ".msgs", id, data ~= "" and data or stored)
if ARGV[6] ~= "" then
    index_letter(namespace, queue, id, now(), ARGV[5], ARGV[6])
end
if redis.call("LLEN", list_of(queue)) > 0 then
    wake(queue, 1)  -- there may be room under the fleet's bound now
end
return 1
