-- The truth table of queues, all read at one instant.
--
-- KEYS[1] namespace; ARGV[1] heartbeat timeout (ms), ARGV[2] how many messages to look at for the oldest, then queue names.
-- Returns for each queue JSON {ready, in_flight, orphaned, delayed, dead, next_due, paused, accounts, now, due_at} and samples,
-- which are messages at both ends of the list: shutdown, recovery and promotion push to the tail what is old, so
-- the head is not always the oldest.
-- Invariant: ready + in_flight + orphaned = every message of the queue, unless the server lost part of its data.

local namespace, timeout, look = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call("TIME")
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local expired = now * 1000 - timeout
local workers = redis.call("ZRANGE", namespace .. ":__heartbeats__", 0, -1, "WITHSCORES")

local function truth(queue)
    local list = namespace .. ":" .. queue
    local in_flight, orphaned = 0, 0
    for i = 1, #workers, 2 do
        local held = redis.call("SCARD", namespace .. ":__acks__." .. workers[i] .. "." .. queue)
        if tonumber(workers[i + 1]) <= expired then
            orphaned = orphaned + held
        else
            in_flight = in_flight + held
        end
    end
    local ready = redis.call("LLEN", list)
    -- Delayed jobs that are due are ready: whoever fetches next takes them.
    local schedule = "littleq:" .. namespace .. ":" .. queue .. ":schedule"
    local due = redis.call("ZCOUNT", schedule, "-inf", string.format("%.3f", now * 1000))
    local due_since = due > 0 and redis.call("ZRANGE", schedule, 0, 0, "WITHSCORES")[2]
    local next_due = redis.call("ZRANGEBYSCORE", schedule, "(" .. string.format("%.3f", now * 1000), "+inf", "WITHSCORES", "LIMIT", 0, 1)[2]
    local ids = redis.call("LRANGE", list, 0, look - 1)
    if ready > look then
        for _, id in ipairs(redis.call("LRANGE", list, math.max(look, ready - look), -1)) do
            ids[#ids + 1] = id
        end
    end
    local samples = {}
    for i, id in ipairs(ids) do
        samples[i] = redis.call("HGET", list .. ".msgs", id) or ""
    end
    local accounts = {}
    local counted = redis.call("HGETALL", "littleq:" .. namespace .. ":" .. queue .. ":accounts")
    for i = 1, #counted, 2 do
        accounts[counted[i]] = tonumber(counted[i + 1])
    end
    return cjson.encode({
        ready = ready + due,
        listed = ready,
        in_flight = in_flight,
        orphaned = orphaned,
        delayed = redis.call("HLEN", list .. ".DQ.msgs") - due,
        dead = redis.call("ZCARD", list .. ".XQ"),
        next_due = next_due and tonumber(next_due) / 1000 - now or cjson.null,
        paused = redis.call("SISMEMBER", "littleq:" .. namespace .. ":paused", queue) == 1,
        accounts = accounts,
        now = now,
        due_at = due_since and tonumber(due_since) / 1000 or cjson.null,
    }), samples
end

local answer = {}
for i = 3, #ARGV do
    local row, samples = truth(ARGV[i])
    answer[#answer + 1] = { row, samples }
end
return answer
