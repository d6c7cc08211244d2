-- Holds jobs for a move to another broker. Stands behind the prelude and holding.lua.
--
-- ARGV 1 the move, as a worker  2 queue  3 "ready", "delayed" or "dead"  4 how many  5 for how long, in ms
-- Answers ids, messages, scores (due or died, ms; "" for none), deliveries ("" for none).
--
-- A ready job is held as by a worker that is heard of again when the hold ends: then it goes back to the head of its queue. A
-- delayed one stays in the schedule and is not due before: its own due time is kept in `moving`. A dead one is only read.
-- Invariant: what is held is in exactly one place, as the prelude says, and is accounted for.

local worker, queue, kind, wanted, hold = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local messages, moving = messages_of(queue), own(queue, "moving:" .. worker)

local function read(ids, from, scores, counts)
    local data, deliveries = {}, {}
    for i, id in ipairs(ids) do
        data[i] = redis.call("HGET", from, id) or ""
        deliveries[i] = redis.call("HGET", own(queue, counts), id) or ""
    end
    return { ids, data, scores, deliveries }
end

local function apart(rows)
    local ids, scores = {}, {}
    for i = 1, #rows, 2 do
        ids[#ids + 1], scores[#scores + 1] = rows[i], rows[i + 1]
    end
    return ids, scores
end

must_be_sound(queue)
if kind == "dead" then
    local ids, scores = apart(redis.call("ZRANGE", dead_of(queue), 0, wanted - 1, "WITHSCORES"))
    return read(ids, dead_of(queue) .. ".msgs", scores, "poison")
end
if kind == "delayed" then
    local ids, scores = apart(redis.call("ZRANGE", own(queue, "schedule"), 0, wanted - 1, "WITHSCORES"))
    for i, id in ipairs(ids) do
        redis.call("HSETNX", moving, id, scores[i])
        redis.call("ZADD", own(queue, "schedule"), "GT", now() + hold, id)
    end
    return read(ids, delayed_of(queue), scores, "deliveries")
end
local ids = redis.call("LPOP", list_of(queue), wanted)
if not ids then
    return { {}, {}, {}, {} }
end
redis.call("SADD", of_namespace("queues"), queue)
redis.call("ZADD", heartbeats, now() + hold, worker)
redis.call("SADD", of_namespace("running:" .. worker), "-")  -- nothing of it runs: should it be buried, no delivery is counted
redis.call("PEXPIRE", of_namespace("running:" .. worker), 2 * hold)
local turn, scores = redis.call("INCRBY", own(queue, "turn"), #ids) - #ids, {}
for i, id in ipairs(ids) do
    redis.call("SADD", held_by(worker, queue), id)
    redis.call("ZADD", own(queue, "order"), turn + i, id)
    scores[i] = ""
end
return read(ids, messages, scores, "deliveries")
