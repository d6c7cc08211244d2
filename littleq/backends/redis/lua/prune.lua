-- Makes the index hold no letter that is not dead any more. Behind letters.lua.
--
-- KEYS[1] namespace; ARGV 1 queue  2 most entries that one call drops. Returns how many dead letters are not indexed, or -1 if
-- there may be more to drop.
--
-- Whoever is not ours (plain Dramatiq) takes letters away oldest first, or all at once: what it took stands first in the sorted
-- set of its actor. Where more is wrong than that (somebody's own hand, or a clock that was ahead), the index is made anew.

local namespace, queue, most = KEYS[1], ARGV[1], tonumber(ARGV[2])
local letters, dropped, is_sound = namespace .. ":" .. queue .. ".XQ", 0, true
for _, actor in ipairs(redis.call("SMEMBERS", dead_key(namespace, queue, "actors"))) do
    local by_actor = dead_key(namespace, queue, actor .. ":by_actor")
    while true do
        local id = redis.call("ZRANGE", by_actor, 0, 0)[1]
        if not id or redis.call("ZSCORE", letters, id) then
            break
        end
        if dropped == most then
            return -1
        end
        forget_letter(namespace, queue, id)
        dropped = dropped + 1
    end
    local last = redis.call("ZRANGE", by_actor, -1, -1)[1]
    is_sound = is_sound and (not last or redis.call("ZSCORE", letters, last))
end
local dead = redis.call("ZCARD", letters)
local indexed = redis.call("HLEN", dead_key(namespace, queue, "index"))
if indexed > dead or not is_sound then
    forget_all_letters(namespace, queue)
    indexed = 0
end
return dead - indexed
