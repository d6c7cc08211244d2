-- Takes a batch of jobs of another broker in, once. Stands behind the prelude.
--
-- ARGV 1 queue  2 the move  3 number of the batch  4 for how long it is remembered, in ms  then six for each job:
--   1 id  2 "ready", "delayed" or "dead"  3 message  4 due or died, ms  5 deliveries, "" for none  6 "1": counts as admitted
-- Answers 1, or 0 if the batch is in already.
-- Invariant: a batch is in as a whole when its number is; what stopped half-way and is asked for again doubles nothing, for a
-- job of the same id and content is the same job.

local queue, batch = ARGV[1], tonumber(ARGV[3])
local last = own(queue, "moved:" .. ARGV[2])
local dead, admitted, ready = dead_of(queue), 0, 0

local function found(id)
    return redis.call("HGET", messages_of(queue), id) or redis.call("HGET", delayed_of(queue), id)
        or redis.call("HGET", dead .. ".msgs", id)
end

-- The id under which a job goes in; nil if it is in.
local function free(id, data)
    local there = found(id)
    while there do
        if there == data then
            return nil
        end
        id = id .. "m"
        there = found(id)
    end
    return id
end

local function put(id, kind, data, at, deliveries)
    if kind == "dead" then
        redis.call("ZADD", dead, at, id)
        redis.call("HSET", dead .. ".msgs", id, data)
    elseif kind == "delayed" and tonumber(at) > now() then
        schedule(queue, id, data, tonumber(at) - now())
    else
        redis.call("HSET", messages_of(queue), id, data)
        redis.call("RPUSH", list_of(queue), id)
        ready = ready + 1
    end
    if deliveries ~= "" then
        redis.call("HSET", own(queue, kind == "dead" and "poison" or "deliveries"), id, deliveries)
    end
end

if tonumber(redis.call("GET", last) or 0) >= batch then
    return 0
end
must_be_sound(queue)
redis.call("SADD", of_namespace("queues"), queue)
for at = 5, #ARGV, 6 do
    local id = free(ARGV[at], ARGV[at + 2])
    if id then
        put(id, unpack(ARGV, at + 1, at + 4))
        account(queue, "admitted", ARGV[at + 5] == "1" and 1 or 0)
    end
end
redis.call("SET", last, batch, "PX", ARGV[4])
wake(queue, ready)
return 1
