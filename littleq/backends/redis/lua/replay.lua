-- Puts a dead job back to the tail of its queue, or does nothing when it is not dead any more. Behind prelude.lua, letters.lua.
--
-- ARGV 1 queue  2 id  3 the message as it goes back  4 "1": it never passed LittleQ, and counts as admitted from now on
-- Invariant: at every instant the job is in exactly one of the two places.

local queue, id, data, joins = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
must_be_sound(queue)
if remove_letter(namespace, queue, id) == 0 then
    return 0
end
redis.call("HSET", messages_of(queue), id, data)
redis.call("RPUSH", list_of(queue), id)
if joins == "1" then
    account(queue, "admitted", 1)
end
wake(queue, 1)
return 1
