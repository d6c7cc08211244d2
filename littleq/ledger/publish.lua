-- Stores decisions under a lease, all or none. KEYS[1]: prefix. ARGV: name, token, holder, seconds until a record is
-- forgotten, then queue, decision and state ('' for none) of each record. Returns 1, or 0 where the lease is not this
-- holder's.
local prefix = KEYS[1]
local key = prefix .. ':lease:' .. ARGV[1]
local token, holder, expiry = ARGV[2], ARGV[3], tonumber(ARGV[4])
local known = redis.call('HMGET', key, 'token', 'holder')
if known[1] ~= token or known[2] ~= holder then
  return 0
end
if #ARGV < 5 then
  return 1
end

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local stamp = string.format('%.6f', now)
-- Where the server takes no writes it is this command that fails, and nothing is stored.
redis.call('HSET', key, 'decided_at', stamp)
local index = prefix .. ':records'
for i = 5, #ARGV, 3 do
  local queue, decision, state = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local record = prefix .. ':record:' .. queue
  redis.call('HSET', record, 'decided_at', stamp, 'holder', holder, 'decision', decision, 'state', state)
  redis.call('EXPIRE', record, expiry)
  redis.call('ZADD', index, stamp, queue)
end
redis.call('ZREMRANGEBYSCORE', index, '-inf', string.format('%.6f', now - expiry))
redis.call('EXPIRE', index, expiry)
return 1
