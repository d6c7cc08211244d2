-- Takes jobs that a plain Dramatiq process delayed into the schedule.
--
-- ARGV 1 queue  then five for each job: 1 its id  2 its id from now on  3 delay in ms, "" to dead-letter what cannot be read
--   4 the message as it will be ready  5 1: it counts as admitted, 0: it was before. Answers how many.
-- Invariant: whoever takes the id from the list has the job: a plain Dramatiq worker may be quicker.

local queue, adopted = ARGV[1], 0
must_be_sound(queue)
for at = 2, #ARGV, 5 do
    local id, new, delay, data = unpack(ARGV, at, at + 3)
    if redis.call("LREM", list_of(queue .. ".DQ"), 1, id) == 1 then
        local stored = redis.call("HGET", delayed_of(queue), id)
        redis.call("HDEL", delayed_of(queue), id)
        if stored and delay == "" then
            redis.call("ZADD", dead_of(queue), now(), id)
            redis.call("HSET", dead_of(queue) .. ".msgs", id, stored)
        elseif stored then
            schedule(queue, new, data, math.max(0, tonumber(delay)))
            account(queue, "admitted", tonumber(ARGV[at + 4]))
        end
        adopted = adopted + 1
    end
end
return adopted
