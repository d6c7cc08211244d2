-- A sign of life of one worker, and the recovery of those that give none.
--
-- ARGV 1 worker that lives, "" for none  2 worker that is known to be dead, "" for none  3 heartbeat timeout in ms
--   4 most deliveries, as JSON: {"default": 5, "queues": {"q": 3}}  5 "1": the ids that follow are all that the worker of 1 or 2
--   was running (else that is not known)
-- Answers how many jobs went back, and how many were set aside as poison.
--
-- What a dead worker held goes to the head of its queue. What it was running counts a delivery (all that it held, where that
-- is not known); a job whose workers died that many times is taken for the reason, and is dead-lettered.
-- Invariants: a job leaves a dead worker's set in the step in which it is ready or dead; nobody is taken for dead for the time
-- in which the server took no signs of life from anybody.

local alive, gone, timeout, bounds = ARGV[1], ARGV[2], tonumber(ARGV[3]), cjson.decode(ARGV[4])
local FORGET_MS = 86400000  -- a plain Dramatiq worker that is dead: whatever it may hold in queues that we do not know
local RUNNING_MS = 60000

local function set_aside(queue, id, deliveries)
    redis.call("ZADD", dead_of(queue), now(), id)
    redis.call("HSET", dead_of(queue) .. ".msgs", id, redis.call("HGET", messages_of(queue), id))
    redis.call("HDEL", messages_of(queue), id)
    redis.call("HSET", own(queue, "poison"), id, deliveries)
    redis.call("HDEL", own(queue, "deliveries"), id)
    redis.call("ZREM", own(queue, "order"), id)
end

local function recover(worker, queue, suspects)
    local most = (bounds.queues or {})[queue] or bounds.default
    local held, back, poison = held_by(worker, queue), {}, 0
    must_be_sound(queue)
    redis.call("ZREM", own(queue, "waiting"), worker)  -- first: see `alive` below
    for _, id in ipairs(redis.call("SMEMBERS", held)) do
        if redis.call("HEXISTS", messages_of(queue), id) == 1 then
            local deliveries = 0
            if not suspects or suspects[id] then
                deliveries = redis.call("HINCRBY", own(queue, "deliveries"), id, 1)
            end
            if deliveries >= most then
                set_aside(queue, id, deliveries)
                poison = poison + 1
            else
                back[#back + 1] = id
            end
        end
    end
    redis.call("DEL", held)
    to_head(queue, back)
    leave(queue, worker)
    return #back, poison
end

-- What a plain Dramatiq worker had delayed in its memory; ours delay nothing.
local function recover_delayed(worker, queue)
    local held = held_by(worker, queue .. ".DQ")
    for _, id in ipairs(redis.call("SMEMBERS", held)) do
        if redis.call("HEXISTS", delayed_of(queue), id) == 1 then
            redis.call("RPUSH", list_of(queue .. ".DQ"), id)
        end
    end
    redis.call("DEL", held)
end

local function bury(worker, heard_at, suspects, queues)
    local back, poison = 0, 0
    for _, queue in ipairs(queues) do
        local b, p = recover(worker, queue, suspects)
        recover_delayed(worker, queue)
        back, poison = back + b, poison + p
    end
    redis.call("DEL", of_namespace("running:" .. worker))
    if string.sub(worker, 1, 8) == "littleq-" or heard_at < now() - FORGET_MS then
        redis.call("ZREM", heartbeats, worker)
    end
    return back, poison
end

local function as_set(ids)
    local set = {}
    for _, id in ipairs(ids) do
        set[id] = true
    end
    return set
end

-- Each worker gives ten signs of life in a timeout, while there is a server. After a gap all have been silent, for no fault of
-- theirs: they get a timeout's time to be heard of again.
local function is_grace()
    local heard = of_namespace("heard")
    local last, grace = unpack(redis.call("HMGET", heard, "last", "grace"))
    grace = tonumber(grace or 0)
    if last and now() - tonumber(last) > timeout / 3 then
        grace = now() + timeout
    end
    redis.call("HSET", heard, "last", now(), "grace", grace)
    return now() < grace
end

local running, all_were_silent = ARGV[5] == "1" and { unpack(ARGV, 6) }, false
if alive ~= "" then
    local known = of_namespace("running:" .. alive)
    redis.call("DEL", known)  -- first: a full server lets a script grow that has begun with a write that it allows
    redis.call("ZADD", heartbeats, now(), alive)
    all_were_silent = is_grace()
    if running and #running > 0 then
        redis.call("SADD", known, unpack(running))
        redis.call("PEXPIRE", known, RUNNING_MS + timeout)
    end
end
local back, poison = 0, 0
local silent = {}
if not all_were_silent then
    silent = redis.call("ZRANGEBYSCORE", heartbeats, "-inf", now() - timeout, "WITHSCORES")
end
if gone == "" and #silent == 0 then
    return { 0, 0 }
end
local queues = redis.call("SMEMBERS", of_namespace("queues"))
if gone ~= "" then
    back, poison = bury(gone, now(), running and as_set(running), queues)
end
for i = 1, #silent, 2 do
    local worker = silent[i]
    if worker ~= alive and worker ~= gone then
        local last = redis.call("SMEMBERS", of_namespace("running:" .. worker))
        local b, p = bury(worker, tonumber(silent[i + 1]), #last > 0 and as_set(last), queues)
        back, poison = back + b, poison + p
    end
end
return { back, poison }
