-- Purges the oldest dead jobs that died too long ago, by the server's clock. Behind letters.lua.
--
-- KEYS[1] namespace; ARGV 1 queue  2 how long they are kept (ms)  3 most that one call deletes. Returns how many went.

local namespace, queue = KEYS[1], ARGV[1]
local time = redis.call("TIME")
local bound = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[2]
local letters = namespace .. ":" .. queue .. ".XQ"
local old = redis.call("ZRANGEBYSCORE", letters, "-inf", string.format("(%d", bound), "LIMIT", 0, ARGV[3])
for _, id in ipairs(old) do
    remove_letter(namespace, queue, id)
end
if #old > 0 then
    redis.call("HINCRBY", "littleq:" .. namespace .. ":" .. queue .. ":accounts", "purged", #old)
end
return #old
