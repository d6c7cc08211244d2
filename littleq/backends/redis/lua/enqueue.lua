-- Takes messages in: first sends (judged against a bound), retries and due jobs that take the place of a held one.
--
-- ARGV 1 worker  2 "1": all messages or none  then groups of messages: what is common to those of a group
--   1 queue  2 delay in ms, "" for none  3 bound of the queue in jobs, "" for none  4 delay in ms if the bound is reached, ""
--   to refuse  5 "1": counts as admitted  6, 7 queue and id of the held job whose place it takes, "" for none  8 how many
-- and for each of them id and message, and where 4 says so the message in that case.
-- Answers, for each message: 1 in, 2 in with the delay of 4, 0 its place is taken or gone, -1 - depth refused.
--
-- Invariants: with a bound, at no instant are there more jobs in the queue than it says; an answer that was lost may be asked
-- for again, and changes nothing; a retry or a due job is in when the held one is out, in one step, or neither is.

local worker, whole, COMMON = ARGV[1], ARGV[2] == "1", 8

local function release(queue, id, target)
    must_be_sound(queue)
    if target ~= queue then
        must_be_sound(target)
    end
    if redis.call("SREM", held_by(worker, queue), id) == 0 then
        return false  -- taken for dead, this worker has lost it to another
    end
    redis.call("ZREM", own(queue, "order"), id)
    redis.call("HDEL", own(queue, "deliveries"), id)
    if redis.call("LLEN", list_of(queue)) > 0 then
        wake(queue, 1)  -- there may be room under the fleet's bound now
    end
    return redis.call("HDEL", messages_of(queue), id) == 1  -- else it was purged, and is accounted for
end

-- What is asked for again, since the answer was lost.
local function is_in(queue, id)
    return redis.call("HEXISTS", messages_of(queue), id) == 1 or redis.call("HEXISTS", delayed_of(queue), id) == 1
end

-- One message, which stands at `at` with what its group has in common at `common`.
local function take_in(common, at)
    local queue, delay, bound, overflow, joins, held_queue, held = unpack(ARGV, common, common + COMMON - 2)
    local id, data, messages, outcome = ARGV[at], ARGV[at + 1], messages_of(queue), 1
    if held ~= "" and not release(held_queue, held, queue) then
        return is_in(queue, id) and 1 or 0
    end
    if bound ~= "" then
        local depth = redis.call("HLEN", messages)
        if depth >= tonumber(bound) then
            if is_in(queue, id) then
                return 1
            elseif overflow == "" then
                return -1 - depth
            end
            delay, data, outcome = overflow, ARGV[at + 2], 2
        end
    end
    if delay ~= "" and tonumber(delay) > 0 then
        if is_in(queue, id) then
            return outcome
        end
        schedule(queue, id, data, tonumber(delay))
    elseif redis.call("HSETNX", messages, id, data) == 0 then
        return outcome
    else
        if type(redis.pcall("RPUSH", list_of(queue), id)) == "table" then
            redis.call("HDEL", messages, id)  -- a message without its place in the list would count for ever
            redis.call("RPUSH", list_of(queue), id)  -- says what was wrong
        end
        wake(queue, 1)
    end
    if joins == "1" then
        account(queue, "admitted", 1)
    end
    return outcome
end

-- Whether all messages of a group would fit beside those of groups before it.
local more = {}
local function refuse_all(common)
    local queue, bound = ARGV[common], tonumber(ARGV[common + 2])
    more[queue] = (more[queue] or 0) + tonumber(ARGV[common + COMMON - 1])
    local depth = bound and redis.call("HLEN", messages_of(queue))
    return bound and depth + more[queue] > bound and -1 - depth or 0
end

local function each(answer)
    local answers, common = {}, 3
    while common <= #ARGV do
        local at, size = common + COMMON, ARGV[common + 3] == "" and 2 or 3
        for _ = 1, tonumber(ARGV[common + COMMON - 1]) do
            answers[#answers + 1] = answer(common, at)
            at = at + size
        end
        common = at
    end
    return answers
end

if whole then
    local refused, answers, last, found = false, nil, nil, 0
    answers = each(function(common)
        if common ~= last then  -- each group is asked once
            last, found = common, refuse_all(common)
            refused = refused or found < 0
        end
        return found
    end)
    if refused then
        return answers
    end
end
return each(take_in)
