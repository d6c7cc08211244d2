-- Settles jobs that are done, hands out ready ones, and notes who waits if there are none: one round trip for all of it.
--
-- ARGV 1 worker  2 queue  3 how many jobs are wanted  4 how long the worker will wait if there are none, in ms (0: it will not)
--   5 most jobs that the fleet may hold of this queue (0: any)  then two for each job that is done:
--   1 id  2 account ("done", "skipped", or "" for a job that never passed LittleQ)
-- Answers: how long to wait in ms, ids, messages.
--
-- Invariants: a job is settled once, however often it is said; a job is handed to one worker; a worker that is told to wait
-- found the queue empty (or paused, or at its bound) in the same step in which it became one of those that are woken.

local worker, queue, wanted, patience, bound = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local list, messages, held, waiting = list_of(queue), messages_of(queue), held_by(worker, queue), own(queue, "waiting")

-- A job that is done is done whoever has it now: a worker that was silent for too long has lost it to another.
local function settle(id)
    local mine = redis.call("SREM", held, id) == 1
    if redis.call("HDEL", messages, id) == 0 then
        return false
    end
    if not mine then
        redis.call("LREM", list, 0, id)
        for _, other in ipairs(redis.call("ZRANGE", heartbeats, 0, -1)) do
            redis.call("SREM", held_by(other, queue), id)
        end
    end
    return true
end

local function settle_all()
    local counts, ids = {}, {}
    for at = 6, #ARGV, 2 do
        local id, name = ARGV[at], ARGV[at + 1]
        ids[#ids + 1] = id
        if settle(id) and name ~= "" then
            counts[name] = (counts[name] or 0) + 1
        end
    end
    if #ids > 0 then
        each_chunk("ZREM", own(queue, "order"), ids)
        if redis.call("EXISTS", own(queue, "deliveries")) == 1 then
            each_chunk("HDEL", own(queue, "deliveries"), ids)
        end
        for name, jobs in pairs(counts) do
            account(queue, name, jobs)
        end
    end
    return #ids
end

local function hand_out(jobs)
    local ids = jobs > 0 and redis.call("LPOP", list, math.min(jobs, CHUNK))
    if not ids then
        return {}, {}
    end
    redis.call("SADD", held, unpack(ids))
    local turn, turns = redis.call("INCRBY", own(queue, "turn"), #ids) - #ids, {}
    for i, id in ipairs(ids) do
        turns[2 * i - 1], turns[2 * i] = turn + i, id
    end
    each_chunk("ZADD", own(queue, "order"), turns)
    return ids, redis.call("HMGET", messages, unpack(ids))
end

-- Few of those that wait wake for the next due time, a little apart: the first takes the job, the others stand in for it
-- should it die or be busy.
local function wait()
    local wake_in, next_due = patience, redis.call("ZRANGE", own(queue, "schedule"), 0, 0, "WITHSCORES")[2]
    redis.call("ZREMRANGEBYSCORE", waiting, "-inf", "(" .. now() - 1000)  -- they have died, or they would have come back
    if next_due and tonumber(next_due) - now() < patience then
        local due = tonumber(next_due)
        local armed = redis.call("ZCOUNT", waiting, due, due + STAND_INS * APART_MS)
        if armed < STAND_INS then
            wake_in = math.max(0, due - now()) + armed * APART_MS
        end
    end
    redis.call("DEL", own(queue, "wake:" .. worker))  -- for jobs that somebody else has taken meanwhile
    redis.call("ZADD", waiting, now() + wake_in, worker)
    return wake_in
end

local settled = settle_all()
if wanted == 0 then
    if settled > 0 and bound > 0 and redis.call("LLEN", list) > 0 then
        wake(queue, settled)  -- room under the bound
    end
    return { 0, {}, {} }
end

redis.call("ZREM", waiting, worker)  -- first: a full server lets a script grow that has begun with a write that it allows
redis.call("ZADD", heartbeats, now(), worker)
redis.call("SADD", of_namespace("queues"), queue)
local ids, data, promoted = {}, {}, promote(queue)
if redis.call("SISMEMBER", of_namespace("paused"), queue) == 0 then
    if bound > 0 then
        wanted = math.min(wanted, bound - held_by_all(queue))
    end
    ids, data = hand_out(wanted)
    local left = redis.call("LLEN", list)
    if left > 0 and (promoted > #ids or (bound > 0 and settled > 0)) then
        wake(queue, math.min(left, math.max(promoted, settled)))
    end
    if #ids > 0 then
        keep_time(queue)  -- this worker may be too busy to do so from now on
    end
end
return { #ids == 0 and patience > 0 and wait() or 0, ids, data }
