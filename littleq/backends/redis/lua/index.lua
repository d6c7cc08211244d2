-- Indexes letters that came without an entry. Behind letters.lua.
--
-- KEYS[1] namespace; ARGV 1 queue, then four for each letter: 1 id  2 time of death as it was read (ms)  3 actor  4 fingerprint
-- Returns how many are indexed now that were not. One that has left since, or died once more, is another reader's.

local namespace, queue, indexed = KEYS[1], ARGV[1], 0
for at = 2, #ARGV, 4 do
    local id, died, actor, fingerprint = unpack(ARGV, at, at + 3)
    local score = redis.call("ZSCORE", namespace .. ":" .. queue .. ".XQ", id)
    local is_known = redis.call("HEXISTS", dead_key(namespace, queue, "index"), id) == 1
    if score and tonumber(score) == tonumber(died) and not is_known then
        index_letter(namespace, queue, id, score, actor, fingerprint)
        indexed = indexed + 1
    end
end
return indexed
