-- Removes jobs that another broker has now. Stands behind the prelude, holding.lua and letters.lua.
--
-- ARGV 1 the move, as a worker  2 queue  3 for how long to remember, in ms  then three for each job: 1 id  2 kind  3 "1": it
--   was admitted, and counts as purged
-- Answers the ids of those that were here; asked again, also of those that the last call removed.
-- Invariant: a job goes once; one that a live worker holds (the hold had run out) stays with it.

local worker, queue = ARGV[1], ARGV[2]
local held, moving = held_by(worker, queue), own(queue, "moving:" .. worker)
local last = own(queue, "forgotten:" .. worker)
local gone, purged = {}, 0

local function remove(id, kind)
    if kind == "dead" then
        return remove_letter(namespace, queue, id) == 1
    end
    redis.call("HDEL", moving, id)
    if redis.call("ZREM", own(queue, "schedule"), id) == 1 then
        redis.call("ZREM", own(queue, "schedule:ids"), id)
        redis.call("HDEL", delayed_of(queue), id)
        return true
    end
    if redis.call("SREM", held, id) == 1 or redis.call("LREM", list_of(queue), 1, id) == 1 then
        redis.call("ZREM", own(queue, "order"), id)
        redis.call("HDEL", own(queue, "deliveries"), id)
        return redis.call("HDEL", messages_of(queue), id) == 1
    end
    return false
end

must_be_sound(queue)
for at = 4, #ARGV, 3 do
    if redis.call("SISMEMBER", last, ARGV[at]) == 1 then
        gone[#gone + 1] = ARGV[at]
    elseif remove(ARGV[at], ARGV[at + 1]) then
        gone[#gone + 1] = ARGV[at]
        purged = purged + (ARGV[at + 2] == "1" and 1 or 0)
    end
end
redis.call("DEL", last)
for _, id in ipairs(gone) do
    redis.call("SADD", last, id)
end
redis.call("PEXPIRE", last, ARGV[3])
account(queue, "purged", purged)
wake(queue, math.min(#gone, redis.call("LLEN", list_of(queue))))  -- there may be room under the fleet's bound now
return gone
