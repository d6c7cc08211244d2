-- The index of a queue's dead letters. Stands in front of a script: lua("letters", "replay").
--
-- Defines four local functions and nothing else; all take the namespace and the queue as a user names it (never its .DQ).
-- They touch only keys of that queue and are meant to run in the script that moves the letter, so that the index and
-- the letters agree at every instant.
--
--   index_letter(namespace, queue, id, died_ms, actor, fingerprint)
--       After the letter went to XQ. `died_ms` is its score there, exactly; `fingerprint` the key of
--       littleq.dead_letters.fingerprint. A letter that is indexed already moves. Leave the call out where actor and
--       fingerprint are not known: whoever asks for the index completes it first (letter_index.py).
--   forget_letter(namespace, queue, id)
--       The index entry alone; nothing if there is none.
--   remove_letter(namespace, queue, id) -> 1, or 0 if it was not dead
--       The letter, its data, its poison mark and its index entry. Counts nothing.
--   forget_all_letters(namespace, queue)
--       The whole index of the queue: for a flush, which deletes XQ itself.
--
-- Keys, all below littleq:<namespace>:<queue>:dead: . A name that somebody chose never stands last: other scans look for
-- keys by how they end.
--   index                   hash    id -> <fingerprint>:<actor>, what it is indexed under
--   <actor>:by_actor        zset    its letters by time of death, ms
--   <key>:by_fingerprint    zset    its letters by time of death, ms
--   actors, fingerprints    set     names of the sorted sets above; an empty one is not there

local function dead_key(namespace, queue, name)
    return "littleq:" .. namespace .. ":" .. queue .. ":dead:" .. name
end

local function forget_letter(namespace, queue, id)
    local entry = redis.call("HGET", dead_key(namespace, queue, "index"), id)
    if not entry then
        return
    end
    redis.call("HDEL", dead_key(namespace, queue, "index"), id)
    local colon = string.find(entry, ":", 1, true)
    local fingerprint, actor = string.sub(entry, 1, colon - 1), string.sub(entry, colon + 1)
    local by_actor = dead_key(namespace, queue, actor .. ":by_actor")
    local by_fingerprint = dead_key(namespace, queue, fingerprint .. ":by_fingerprint")
    redis.call("ZREM", by_actor, id)
    redis.call("ZREM", by_fingerprint, id)
    if redis.call("EXISTS", by_actor) == 0 then
        redis.call("SREM", dead_key(namespace, queue, "actors"), actor)
    end
    if redis.call("EXISTS", by_fingerprint) == 0 then
        redis.call("SREM", dead_key(namespace, queue, "fingerprints"), fingerprint)
    end
end

local function index_letter(namespace, queue, id, died_ms, actor, fingerprint)
    forget_letter(namespace, queue, id)
    redis.call("HSET", dead_key(namespace, queue, "index"), id, fingerprint .. ":" .. actor)
    redis.call("ZADD", dead_key(namespace, queue, actor .. ":by_actor"), died_ms, id)
    redis.call("ZADD", dead_key(namespace, queue, fingerprint .. ":by_fingerprint"), died_ms, id)
    redis.call("SADD", dead_key(namespace, queue, "actors"), actor)
    redis.call("SADD", dead_key(namespace, queue, "fingerprints"), fingerprint)
end

local function remove_letter(namespace, queue, id)
    local letters = namespace .. ":" .. queue .. ".XQ"
    local removed = redis.call("ZREM", letters, id)
    redis.call("HDEL", letters .. ".msgs", id)
    redis.call("HDEL", "littleq:" .. namespace .. ":" .. queue .. ":poison", id)
    forget_letter(namespace, queue, id)
    return removed
end

local function forget_all_letters(namespace, queue)
    for _, actor in ipairs(redis.call("SMEMBERS", dead_key(namespace, queue, "actors"))) do
        redis.call("DEL", dead_key(namespace, queue, actor .. ":by_actor"))
    end
    for _, fingerprint in ipairs(redis.call("SMEMBERS", dead_key(namespace, queue, "fingerprints"))) do
        redis.call("DEL", dead_key(namespace, queue, fingerprint .. ":by_fingerprint"))
    end
    for _, name in ipairs({ "index", "actors", "fingerprints" }) do
        redis.call("DEL", dead_key(namespace, queue, name))
    end
end
