-- The truth table of queues, all read at one instant.
--
-- KEYS[1] namespace; ARGV[1] heartbeat timeout (ms), ARGV[2] how many messages to look at for the oldest, ARGV[3] most
-- lookups of what one worker holds of one queue, then queue names.
-- Returns for each queue JSON {ready, in_flight, orphaned, is_counted, delayed, dead, next_due, paused, accounts, now, due_at} and samples,
-- which are messages at both ends of the list: shutdown, recovery and promotion push to the tail what is old, so
-- the head is not always the oldest.
-- Invariant: ready + in_flight + orphaned = every message of the queue, unless the server lost part of its data.
-- Each worker holds its jobs of each queue in a set of its own: 1,000 queues and 10,000 workers are ten million sets, and
-- the server would answer nobody else for a quarter of a minute. Beyond ARGV[3] of them only the sets of the dead workers
-- or of the live ones are counted, whichever are fewer, and the others hold the rest, by the invariant.

local namespace, timeout, look, most = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call("TIME")
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local expired = string.format("%.6f", now * 1000 - timeout)
local dead = redis.call("ZRANGEBYSCORE", namespace .. ":__heartbeats__", "-inf", expired)
local live = redis.call("ZRANGEBYSCORE", namespace .. ":__heartbeats__", "(" .. expired, "+inf")
local is_counted = (#dead + #live) * (#ARGV - 3) <= most

local function held_by(workers, queue)
    local held = 0
    for _, worker in ipairs(workers) do
        held = held + redis.call("SCARD", namespace .. ":__acks__." .. worker .. "." .. queue)
    end
    return held
end

local function holdings(queue, list, ready)
    if is_counted then
        return held_by(live, queue), held_by(dead, queue)
    end
    local held = math.max(0, redis.call("HLEN", list .. ".msgs") - ready)
    if held == 0 then
        return 0, 0
    end
    if #dead <= #live then
        local orphaned = math.min(held, held_by(dead, queue))
        return held - orphaned, orphaned
    end
    local in_flight = math.min(held, held_by(live, queue))
    return in_flight, held - in_flight
end

local function truth(queue)
    local list = namespace .. ":" .. queue
    local ready = redis.call("LLEN", list)
    local in_flight, orphaned = holdings(queue, list, ready)
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
        is_counted = is_counted,
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
for i = 4, #ARGV do
    local row, samples = truth(ARGV[i])
    answer[#answer + 1] = { row, samples }
end
return answer
