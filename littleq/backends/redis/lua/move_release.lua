-- Gives back all that a move holds. Stands behind the prelude and holding.lua. ARGV 1 the move, as a worker  2 queue
-- Invariant: a ready job goes back to the head of its queue, a delayed one is due when it was before.

local worker, queue = ARGV[1], ARGV[2]
local held, moving = held_by(worker, queue), own(queue, "moving:" .. worker)
must_be_sound(queue)
local back = {}
for _, id in ipairs(redis.call("SMEMBERS", held)) do
    if redis.call("HEXISTS", messages_of(queue), id) == 1 then
        back[#back + 1] = id
    end
end
redis.call("DEL", held)
to_head(queue, back)
local due = redis.call("HGETALL", moving)
for i = 1, #due, 2 do
    redis.call("ZADD", own(queue, "schedule"), "XX", due[i + 1], due[i])
end
redis.call("DEL", moving, of_namespace("running:" .. worker))
redis.call("ZREM", heartbeats, worker)
keep_time(queue)
return #back + #due / 2
