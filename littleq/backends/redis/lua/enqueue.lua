-- Takes messages in: first sends (judged against a bound), retries and due jobs that take the place of a held one.
--
-- ARGV 1 worker  2 "1": all messages or none  then ten for each message:
--   1 queue  2 id  3 message  4 delay in ms, "" for none  5 bound of the queue in jobs, "" for none
--   6 delay in ms if the bound is reached, "" to refuse  7 the message in that case
--   8 "1": counts as admitted  9, 10 queue and id of the held job whose place it takes, "" for none
-- Answers, for each message: 1 in, 2 in with the delay of 6, 0 its place is taken or gone, -1 - depth refused.
--
-- Invariants: with a bound, at no instant are there more jobs in the queue than it says; an answer that was lost may be asked
-- for again, and changes nothing; a retry or a due job is in when the held one is out, in one step, or neither is.

local worker, whole, FIELDS = ARGV[1], ARGV[2] == "1", 10

local function release(queue, id)
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

local function take_in(at)
    local queue, id, data, delay, bound = unpack(ARGV, at, at + 4)
    local overflow, joins, held_queue, held = ARGV[at + 5], ARGV[at + 7], ARGV[at + 8], ARGV[at + 9]
    local messages, outcome = messages_of(queue), 1
    if held ~= "" and not release(held_queue, held) then
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
            delay, data, outcome = overflow, ARGV[at + 6], 2
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
        redis.call("RPUSH", list_of(queue), id)
        wake(queue, 1)
    end
    if joins == "1" then
        account(queue, "admitted", 1)
    end
    return outcome
end

-- Whether all messages would fit; else the answers that say which of them would not.
local function refusal()
    local more, answers, refused = {}, {}, false
    for at = 3, #ARGV, FIELDS do
        local queue, bound = ARGV[at], ARGV[at + 4]
        more[queue] = (more[queue] or 0) + 1
        answers[#answers + 1] = 0
        if bound ~= "" then
            local depth = redis.call("HLEN", messages_of(queue))
            if depth + more[queue] > tonumber(bound) then
                answers[#answers], refused = -1 - depth, true
            end
        end
    end
    return refused and answers
end

local answers = whole and refusal()
if not answers then
    answers = {}
    for at = 3, #ARGV, FIELDS do
        answers[#answers + 1] = take_in(at)
    end
end
return answers
