-- Takes or renews the right to decide. KEYS[1]: prefix. ARGV: name, holder, seconds, seconds until all of it is
-- forgotten. Returns {token, decided_at or '', seconds, microseconds}, or nothing while another holds it.
local key = KEYS[1] .. ':lease:' .. ARGV[1]
local holder = ARGV[2]
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local known = redis.call('HMGET', key, 'token', 'holder', 'renewed_at', 'seconds', 'decided_at')
local token, owner = known[1], known[2]

if owner ~= holder then
  if owner and owner ~= '' then
    local age = now - tonumber(known[3])
    -- Younger than 0: the clock was set back, and it would be long until the lease runs out.
    if age >= 0 and age < tonumber(known[4]) then
      return false
    end
  end
  -- The clock is in it, so that it grows even where the last one was lost with all other data.
  local microseconds = tonumber(time[1]) * 1000000 + tonumber(time[2])
  token = string.format('%.0f', math.max(tonumber(token or '0') + 1, microseconds))
end
redis.call('HSET', key, 'token', token, 'holder', holder, 'renewed_at', string.format('%.6f', now), 'seconds', ARGV[3])
redis.call('EXPIRE', key, math.max(tonumber(ARGV[4]), math.ceil(tonumber(ARGV[3]))))
return { token, known[5] or '', time[1], time[2] }
