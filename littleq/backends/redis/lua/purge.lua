-- Deletes dead jobs for good, and accounts for them. Behind letters.lua.
--
-- KEYS[1] namespace; ARGV[1] queue, then ids. Returns how many were there.

local namespace, queue, purged = KEYS[1], ARGV[1], 0
for i = 2, #ARGV do
    purged = purged + remove_letter(namespace, queue, ARGV[i])
end
if purged > 0 then
    redis.call("HINCRBY", "littleq:" .. namespace .. ":" .. queue .. ":accounts", "purged", purged)
end
return purged
