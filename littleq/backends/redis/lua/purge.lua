-- Deletes dead jobs for good, and accounts for them.
--
-- KEYS[1] namespace; ARGV[1] queue, then ids. Returns how many were there.

local list = KEYS[1] .. ":" .. ARGV[1]
local own = "littleq:" .. KEYS[1] .. ":" .. ARGV[1]
local purged = 0
for i = 2, #ARGV do
    purged = purged + redis.call("ZREM", list .. ".XQ", ARGV[i])
    redis.call("HDEL", list .. ".XQ.msgs", ARGV[i])
    redis.call("HDEL", own .. ":poison", ARGV[i])
end
if purged > 0 then
    redis.call("HINCRBY", own .. ":accounts", "purged", purged)
end
return purged
