-- Reads what was decided, and changes nothing. KEYS[1]: prefix. ARGV: 1 with states, 0 without; how many queues, -1 for
-- all; their names. Returns {seconds, microseconds, {{queue, decided_at, holder, decision, state}, …}}.
local prefix = KEYS[1]
local fields = { 'decided_at', 'holder', 'decision' }
if ARGV[1] == '1' then
  fields[4] = 'state'
end
local queues = {}
if tonumber(ARGV[2]) < 0 then
  queues = redis.call('ZRANGE', prefix .. ':records', 0, -1)
else
  for i = 3, #ARGV do
    queues[#queues + 1] = ARGV[i]
  end
end

local time = redis.call('TIME')
local found = {}
for _, queue in ipairs(queues) do
  local values = redis.call('HMGET', prefix .. ':record:' .. queue, unpack(fields))
  if values[3] then
    found[#found + 1] = { queue, values[1], values[2], values[3], values[4] or '' }
  end
end
return { time[1], time[2], found }
