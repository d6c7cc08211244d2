-- Puts a dead job back to its queue, or does nothing when it is not dead any more.
--
-- KEYS[1] namespace; ARGV 1 queue, 2 id, 3 the message as it goes back. Dramatiq's layout.
-- Invariant: at every instant the job is in exactly one of the two places; accounts do not change, it was admitted once.

local list = KEYS[1] .. ":" .. ARGV[1]
local own = "littleq:" .. KEYS[1] .. ":" .. ARGV[1]
if redis.call("ZREM", list .. ".XQ", ARGV[2]) == 0 then
    return 0
end
redis.call("HDEL", list .. ".XQ.msgs", ARGV[2])
redis.call("HDEL", own .. ":poison", ARGV[2])
redis.call("HSET", list .. ".msgs", ARGV[2], ARGV[3])
redis.call("RPUSH", list, ARGV[2])
if ARGV[4] == "1" then  -- never passed LittleQ before
    redis.call("HINCRBY", own .. ":accounts", "admitted", 1)
end
return 1
