-- Exact accounts around Dramatiq's own script, in the same atomic call.
--
-- `dramatiq` (a function made of the script that Dramatiq registers) stands above this text; MAX_DELIVERIES too.
-- KEYS and ARGV are Dramatiq's: KEYS[1] namespace; ARGV 1 command, 2 now (ms), 3 queue, 4 worker, 5 heartbeat timeout,
-- 7 maintenance or not, 9 message id. Ours follow, and are ignored by Dramatiq:
--   enqueue  10 data  11 account ("admitted", or "" for a job that is in already)  12, 13 queue and id of the held job
--            whose place the message takes ("" for none)
--   ack      10 account ("done", "skipped", or "" for a job that never passed LittleQ)
--   nack     10 data with the reason of death ("" to keep what is stored)
--
-- Invariants: a job is counted exactly when its message appears or disappears; what a client repeats after a lost answer
-- changes nothing; a retry and a due job replace the held one in one step, or do nothing when somebody else has it now.

local namespace, command, now, queue, id = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[9]
local is_delay = string.sub(queue, -3) == ".DQ"
local canonical = is_delay and string.sub(queue, 1, -4) or queue
local messages = namespace .. ":" .. queue .. ".msgs"
local dead = namespace .. ":" .. canonical .. ".XQ"
local own = "littleq:" .. namespace .. ":" .. canonical
local accounts, deliveries, poison = own .. ":accounts", own .. ":deliveries", own .. ":poison"

local function acks_of(worker, of_queue)
    return namespace .. ":__acks__." .. worker .. "." .. of_queue
end

-- Before Dramatiq puts a dead worker's jobs back: each was delivered to a worker that died. One that this happened to too
-- often is taken to be the reason, and is dead-lettered instead. Delayed jobs never ran.
local function set_poison_aside()
    for _, worker in ipairs(redis.call("ZRANGEBYSCORE", namespace .. ":__heartbeats__", 0, now - ARGV[5])) do
        local acks = acks_of(worker, queue)
        for _, held in ipairs(redis.call("SMEMBERS", acks)) do
            local times = redis.call("HINCRBY", deliveries, held, 1)
            local data = times >= MAX_DELIVERIES and redis.call("HGET", messages, held)
            if data then
                redis.call("SREM", acks, held)
                redis.call("HDEL", messages, held)
                redis.call("HDEL", deliveries, held)
                redis.call("ZADD", dead, now, held)
                redis.call("HSET", dead .. ".msgs", held, data)
                redis.call("HSET", poison, held, times)
            end
        end
    end
end

if ARGV[7] == "1" and not is_delay then
    set_poison_aside()
end

if command == "enqueue" then
    if redis.call("HEXISTS", messages, id) == 1 then
        return
    end
    if ARGV[13] ~= "" then
        if redis.call("SREM", acks_of(ARGV[4], ARGV[12]), ARGV[13]) == 0 then
            return
        end
        redis.call("HDEL", namespace .. ":" .. ARGV[12] .. ".msgs", ARGV[13])
        redis.call("HDEL", deliveries, ARGV[13])
    end
end

local held, kept = redis.call("HLEN", messages), redis.call("ZCARD", dead)
local answer = dramatiq()

if command == "enqueue" then
    if ARGV[11] ~= "" then
        redis.call("HINCRBY", accounts, ARGV[11], 1)
    end
elseif command == "ack" or command == "nack" then
    if redis.call("HLEN", messages) < held then
        redis.call("HDEL", deliveries, id)
        if ARGV[10] ~= "" and command == "ack" then
            redis.call("HINCRBY", accounts, ARGV[10], 1)
        elseif ARGV[10] ~= "" then
            redis.call("HSET", dead .. ".msgs", id, ARGV[10])
        end
    end
elseif command == "purge" then
    redis.call("HINCRBY", accounts, "purged", held + kept)
    redis.call("DEL", deliveries, poison)
end

if ARGV[7] == "1" and command ~= "purge" then
    local expired = kept - redis.call("ZCARD", dead)  -- Dramatiq forgets old dead letters in passing, if told to
    if expired > 0 then
        redis.call("HINCRBY", accounts, "purged", expired)
    end
end
return answer
