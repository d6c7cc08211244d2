-- Puts jobs that a worker holds back to the head of their queue.
--
-- ARGV 1 worker  2 queue  3 "these": the ids that follow; "others": all that the worker holds but those that follow;
--   "bye": these, and the worker waits no more. Answers how many.
-- Invariant: a job goes back once, and only from the worker that holds it.

local worker, queue, which = ARGV[1], ARGV[2], ARGV[3]
local held = held_by(worker, queue)
local named, ids = {}, {}
for i = 4, #ARGV do
    named[ARGV[i]] = true
end
if which == "others" then
    for _, id in ipairs(redis.call("SMEMBERS", held)) do
        if not named[id] then
            ids[#ids + 1] = id
        end
    end
else
    for id in pairs(named) do
        ids[#ids + 1] = id
    end
end
must_be_sound(queue)
local back = {}
for _, id in ipairs(ids) do
    if redis.call("SREM", held, id) == 1 and redis.call("HEXISTS", messages_of(queue), id) == 1 then
        back[#back + 1] = id
    end
end
to_head(queue, back)
if which == "bye" then
    leave(queue, worker)
end
return #back
