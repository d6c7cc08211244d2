-- Takes the delayed jobs of a message id away for good. ARGV 1 queue  2 message id. Answers how many there were.
-- Invariant: a job that is due at this very moment is either cancelled or ready, not both.

local queue, message_id, cancelled = ARGV[1], ARGV[2], 0
local ids = own(queue, "schedule:ids")
for _, id in ipairs(redis.call("ZRANGEBYLEX", ids, "[" .. message_id .. ".", "(" .. message_id .. "/")) do
    if string.match(id, "^(.*)%.[^.]*$") == message_id then
        redis.call("ZREM", ids, id)
        redis.call("ZREM", own(queue, "schedule"), id)
        cancelled = cancelled + redis.call("HDEL", delayed_of(queue), id)
    end
end
account(queue, "purged", cancelled)
return cancelled
