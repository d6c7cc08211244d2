-- Gives the right to decide back, if it is still this holder's. KEYS[1]: prefix. ARGV: name, token, holder.
local key = KEYS[1] .. ':lease:' .. ARGV[1]
local known = redis.call('HMGET', key, 'token', 'holder')
if known[1] == ARGV[2] and known[2] == ARGV[3] then
  redis.call('HSET', key, 'holder', '') -- the token stays, the next one is higher
end
