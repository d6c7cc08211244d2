-- Stops or starts the handing out of jobs. ARGV 1 queue  2 "1" to pause, "0" to resume. Answers 1 if that changed anything.
-- Invariant: after this step no job is handed out, or everybody who waits for one is woken.

local queue, paused = ARGV[1], of_namespace("paused")
if ARGV[2] == "1" then
    return redis.call("SADD", paused, queue)
end
local changed = redis.call("SREM", paused, queue)
wake(queue, math.min(redis.call("LLEN", list_of(queue)), redis.call("ZCARD", own(queue, "waiting"))))
return changed
