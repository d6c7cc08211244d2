-- Exact accounts around Dramatiq's own script, in the same atomic call.
--
-- `dramatiq` (a function made of the script that Dramatiq registers) stands above this text; MAX_DELIVERIES too.
-- KEYS and ARGV are Dramatiq's: KEYS[1] namespace; ARGV 1 command, 2 now (ms), 3 queue, 4 worker, 5 heartbeat timeout,
-- 7 maintenance or not, 9 message id. Ours follow, and are ignored by Dramatiq:
--   enqueue  10 data  11 account ("admitted", or "" for a job that is in already)  12, 13 queue and id of the held job
--            whose place the message takes ("" for none)
--   ack      10 account ("done", "skipped", or "" for a job that never passed LittleQ)  11 "1" if the job ran to its end
--            (a delayed job is acked too when it was promoted, or when somebody else has it now)
--   nack     10 data with the reason of death ("" to keep what is stored)
--
-- Invariants: a job is counted exactly when its message appears or disappears; what a client repeats after a lost answer
-- changes nothing; a retry and a due job replace the held one in one step, or do nothing when somebody else has it now.

-- One clock for all heartbeats and deaths: with those of the workers, one that is off by more than the heartbeat timeout
-- takes the others for dead, or is taken for it.
local time = redis.call("TIME")
ARGV[2] = string.format("%d", time[1] * 1000 + math.floor(time[2] / 1000))
local namespace, command, now, queue, id = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[9]
local canonical = string.sub(queue, -3) == ".DQ" and string.sub(queue, 1, -4) or queue
local messages = namespace .. ":" .. queue .. ".msgs"
local own = "littleq:" .. namespace .. ":" .. canonical

local function account(name, jobs)
    redis.call("HINCRBY", own .. ":accounts", name, jobs)
end

local function dead_letters()
    return namespace .. ":" .. canonical .. ".XQ"
end

local function acks_of(worker, of_queue)
    return namespace .. ":__acks__." .. worker .. "." .. of_queue
end

-- Before Dramatiq puts a dead worker's jobs back: each was delivered to a worker that died. One that this happened to too
-- often is taken to be the reason, and is dead-lettered instead.
local function set_poison_aside()
    local dead, deliveries = dead_letters(), own .. ":deliveries"
    local workers = redis.call("ZRANGEBYSCORE", namespace .. ":__heartbeats__", 0, now - ARGV[5])
    for _, worker in ipairs(workers) do
        local acks = acks_of(worker, queue)
        -- This worker lives, however long it was silent: Dramatiq leaves it its jobs too.
        for _, held in ipairs(worker == ARGV[4] and {} or redis.call("SMEMBERS", acks)) do
            local times = redis.call("HINCRBY", deliveries, held, 1)
            local data = times >= MAX_DELIVERIES and redis.call("HGET", messages, held)
            if data then
                redis.call("SREM", acks, held)
                redis.call("HDEL", messages, held)
                redis.call("ZADD", dead, now, held)
                redis.call("HSET", dead .. ".msgs", held, data)
                redis.call("HSET", own .. ":poison", held, times)
            end
        end
    end
    if #workers > 0 then  -- a rare occasion, and time enough to forget the deliveries of jobs that have left
        for _, counted in ipairs(redis.call("HKEYS", deliveries)) do
            if redis.call("HEXISTS", messages, counted) == 0 then
                redis.call("HDEL", deliveries, counted)
            end
        end
    end
end

local detail = ARGV[10] or ""  -- `broker.do_ack(queue, id)` by hand gives none
local maintaining = ARGV[7] == "1"
if maintaining then
    -- While a worker is dead, Dramatiq looks for what else it holds with KEYS, over all keys of the server, at each
    -- maintenance: where there is nothing to recover from this queue, one in a few seconds is enough.
    local dead, something = redis.call("ZRANGEBYSCORE", namespace .. ":__heartbeats__", 0, now - ARGV[5]), false
    for _, worker in ipairs(dead) do
        something = something or redis.call("EXISTS", acks_of(worker, queue)) == 1
    end
    if #dead > 0 and not something and not redis.call("SET", own .. ":maintained", 1, "NX", "PX", MAINTENANCE_MS) then
        maintaining, ARGV[7] = false, "0"
    end
end
if maintaining and canonical == queue then  -- delayed jobs never ran
    set_poison_aside()
end
local kept = maintaining and redis.call("ZCARD", dead_letters())

local answer
if command == "enqueue" then
    if redis.call("HEXISTS", messages, id) == 1 then
        return
    end
    if ARGV[13] ~= "" then
        if redis.call("SREM", acks_of(ARGV[4], ARGV[12]), ARGV[13]) == 0 then
            return
        end
        if redis.call("HDEL", namespace .. ":" .. ARGV[12] .. ".msgs", ARGV[13]) == 0 then
            return  -- purged, and accounted for
        end
    end
    dramatiq()
    if ARGV[11] ~= "" then
        account(ARGV[11], 1)
    end
elseif command == "ack" then
    local before = redis.call("HLEN", messages)
    dramatiq()
    if ARGV[11] == "1" and redis.call("HLEN", messages) == before and redis.call("HDEL", messages, id) == 1 then
        -- Silent for too long, this worker lost the job to another, and has done it all the same.
        redis.call("LREM", namespace .. ":" .. queue, 0, id)
        for _, worker in ipairs(redis.call("ZRANGE", namespace .. ":__heartbeats__", 0, -1)) do
            redis.call("SREM", acks_of(worker, queue), id)
        end
    end
    if detail ~= "" and redis.call("HLEN", messages) < before then
        account(detail, 1)
    end
elseif command == "nack" then
    local before = redis.call("HLEN", messages)
    dramatiq()
    if detail ~= "" and redis.call("HLEN", messages) < before then
        redis.call("HSET", dead_letters() .. ".msgs", id, detail)
    end
elseif command == "purge" then
    account("purged", redis.call("HLEN", messages) + redis.call("ZCARD", dead_letters()))
    dramatiq()
    redis.call("DEL", own .. ":deliveries", own .. ":poison")
    for _, worker in ipairs(redis.call("ZRANGE", namespace .. ":__heartbeats__", 0, -1)) do
        redis.call("DEL", acks_of(worker, queue))  -- whoever holds a purged job holds nothing
    end
    return
else
    answer = dramatiq()
end

if maintaining then
    local expired = kept - redis.call("ZCARD", dead_letters())  -- Dramatiq forgets old ones in passing, if told to
    if expired > 0 then
        account("purged", expired)
    end
end
return answer
