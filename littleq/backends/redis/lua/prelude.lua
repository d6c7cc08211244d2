-- What the broker's scripts share: names of keys, the clock, and the steps that more than one of them takes.
--
-- KEYS[1] is the namespace, in every script. Dramatiq's layout, which a plain Dramatiq process reads and writes too:
--   <ns>:<queue>                      list    ids of ready jobs, head first
--   <ns>:<queue>.msgs                 hash    id -> message, of ready and held jobs
--   <ns>:<queue>.DQ.msgs              hash    id -> message, of delayed jobs, in the form in which they will be ready
--   <ns>:<queue>.DQ                   list    ids of jobs that a plain Dramatiq process delayed, until one of ours adopts them
--   <ns>:<queue>.XQ, .XQ.msgs         zset, hash of dead jobs, by time of death (ms)
--   <ns>:__acks__.<worker>.<queue>    set     ids that a worker holds
--   <ns>:__heartbeats__               zset    worker -> when it was last heard of (ms)
-- Ours, `littleq:<ns>:<queue>:…`:
--   accounts    hash  admitted, done, skipped, purged    schedule    zset  id -> due (ms)      order       zset  held id -> turn
--   deliveries  hash  id -> workers that died on it      schedule:ids zset ids, by name        turn        the last turn given
--   poison      hash  dead id -> deliveries              waiting     zset  worker -> when it wakes by itself (ms)
--   wake:<worker>  list of tokens, one for each time the worker is woken
-- and for the namespace: littleq:<ns>:queues, littleq:<ns>:paused (sets of queues), littleq:<ns>:running:<worker> (set of ids),
-- littleq:<ns>:heard (hash, see beat.lua)
--
-- Invariants: a job is in exactly one of ready list, a worker's set, schedule, dead letters; `accounts` change in the step
-- in which a job appears or disappears; a queue with ready jobs and a waiting worker has a token on its way.

local namespace = KEYS[1]
local clock  -- ms. The server's: no two hosts' clocks are compared. Read once, and only where it is needed.
local function now()
    if not clock then
        local time = redis.call("TIME")
        clock = time[1] * 1000 + math.floor(time[2] / 1000)
    end
    return clock
end
local heartbeats = namespace .. ":__heartbeats__"

local TOKEN_MS = 5000  -- a token for a worker that has died goes away by itself
local STAND_INS, APART_MS = 3, 2  -- waiting workers that wake for one due time, and how far apart

local function list_of(queue) return namespace .. ":" .. queue end
local function messages_of(queue) return namespace .. ":" .. queue .. ".msgs" end
local function delayed_of(queue) return namespace .. ":" .. queue .. ".DQ.msgs" end
local function dead_of(queue) return namespace .. ":" .. queue .. ".XQ" end
local function held_by(worker, queue) return namespace .. ":__acks__." .. worker .. "." .. queue end
local function own(queue, what) return "littleq:" .. namespace .. ":" .. queue .. ":" .. what end
local function of_namespace(what) return "littleq:" .. namespace .. ":" .. what end

-- Before a script takes a job from where it is: what it has done stays done when a key of a wrong type stops it half-way.
local function must_be_sound(queue)
    redis.call("LLEN", list_of(queue))
    redis.call("HLEN", messages_of(queue))
    redis.call("HLEN", delayed_of(queue))
    redis.call("ZCARD", own(queue, "schedule"))
    redis.call("ZCARD", own(queue, "schedule:ids"))
    redis.call("ZCARD", dead_of(queue))
    redis.call("HLEN", dead_of(queue) .. ".msgs")
end

local function account(queue, name, jobs)
    if jobs ~= 0 then
        redis.call("HINCRBY", own(queue, "accounts"), name, jobs)
    end
end

-- Wakes as many waiting workers as there are jobs for them, one per job: first those that would sleep longest, so that
-- those that are set to a due time stay so. The token waits in a list: it is there even if its worker does not block yet.
local function wake(queue, jobs)
    local waiting = own(queue, "waiting")
    for _ = 1, jobs do
        local worker = redis.call("ZPOPMAX", waiting)[1]
        if not worker then
            return
        end
        local tokens = own(queue, "wake:" .. worker)
        redis.call("RPUSH", tokens, 1)
        redis.call("PEXPIRE", tokens, TOKEN_MS)
    end
end

-- Sees to it that, if anybody waits, somebody wakes by itself when the next delayed job is due.
local function keep_time(queue)
    local next_due = redis.call("ZRANGE", own(queue, "schedule"), 0, 0, "WITHSCORES")[2]
    if next_due and redis.call("ZCOUNT", own(queue, "waiting"), now(), next_due + STAND_INS * APART_MS) == 0 then
        wake(queue, 1)
    end
end

-- Puts a job into the schedule.
local function schedule(queue, id, data, delay)
    redis.call("ZADD", own(queue, "schedule"), now() + delay, id)
    redis.call("ZADD", own(queue, "schedule:ids"), 0, id)
    redis.call("HSET", delayed_of(queue), id, data)  -- last: an id without a message is dropped when it is due
    keep_time(queue)
end
