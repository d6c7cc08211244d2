-- What the scripts share that hand jobs out and take them back. Stands behind the prelude.

local PROMOTE_AT_ONCE = 200  -- due jobs promoted by one call: a fraction of a millisecond
local CHUNK = 1000  -- arguments that `unpack` may put on Lua's stack (its limit is 8000)

-- Calls a command on many members, a stackful at a time.
local function each_chunk(command, key, members)
    for first = 1, #members, CHUNK do
        redis.call(command, key, unpack(members, first, math.min(first + CHUNK - 1, #members)))
    end
end

-- Moves jobs that are due to the tail of their queue, in the order in which they became due; how many.
local function promote(queue)
    local due = redis.call("ZRANGEBYSCORE", own(queue, "schedule"), "-inf", now(), "LIMIT", 0, PROMOTE_AT_ONCE)
    if #due == 0 then
        return 0
    end
    must_be_sound(queue)
    local promoted = 0
    for _, id in ipairs(due) do
        local data = redis.call("HGET", delayed_of(queue), id)
        if data then  -- else a plain Dramatiq process has flushed the queue
            redis.call("HDEL", delayed_of(queue), id)
            redis.call("HSET", messages_of(queue), id, data)
            redis.call("RPUSH", list_of(queue), id)
            promoted = promoted + 1
        end
    end
    redis.call("ZREM", own(queue, "schedule"), unpack(due))
    redis.call("ZREM", own(queue, "schedule:ids"), unpack(due))
    return promoted
end

-- A worker waits no more: what it was woken for, or would have woken for, is left to another.
local function leave(queue, worker)
    redis.call("ZREM", own(queue, "waiting"), worker)
    local tokens = redis.call("LLEN", own(queue, "wake:" .. worker))
    redis.call("DEL", own(queue, "wake:" .. worker))
    wake(queue, math.min(tokens, redis.call("LLEN", list_of(queue))))
    keep_time(queue)
end

-- Puts jobs that a worker held back to the head of their queue, in the order in which they were handed out.
local function to_head(queue, ids)
    local turns, order = {}, own(queue, "order")
    for _, id in ipairs(ids) do
        turns[id] = tonumber(redis.call("ZSCORE", order, id) or 0)
    end
    table.sort(ids, function(a, b) return turns[a] > turns[b] or (turns[a] == turns[b] and a > b) end)
    each_chunk("LPUSH", list_of(queue), ids)
    each_chunk("ZREM", order, ids)
    wake(queue, #ids)
end

-- How many jobs of a queue the whole fleet holds.
local function held_by_all(queue)
    local held = 0
    for _, worker in ipairs(redis.call("ZRANGE", heartbeats, 0, -1)) do
        held = held + redis.call("SCARD", held_by(worker, queue))
    end
    return held
end
