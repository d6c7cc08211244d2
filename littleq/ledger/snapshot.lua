-- Reads the ledger at one instant. KEYS[1]: prefix. ARGV: slot width, number of recent slots, seconds of
-- presence, then '1' for all queues, or '0' and their names.
-- Returns {seconds, microseconds, {presence, …}, {{queue, totals, recent, width, settings}, …}}; totals,
-- recent and settings are flat lists. Changes nothing.
local prefix = KEYS[1]
local slot_seconds, recent_slots = tonumber(ARGV[1]), tonumber(ARGV[2])
local presence_seconds = tonumber(ARGV[3])

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local current = math.floor(now / slot_seconds)

local workers = {}
-- '(' leaves the bound itself out: who was last heard of that long ago is gone.
local since = string.format('(%.6f', now - presence_seconds)
for _, writer in ipairs(redis.call('ZRANGEBYSCORE', prefix .. ':seen', since, '+inf')) do
  workers[#workers + 1] = redis.call('HGET', prefix .. ':workers', writer) or ''
end

-- The same as recent_window in base.py.
local function recent(queue, first_seen)
  local width = current * slot_seconds - math.max(first_seen, (current - recent_slots) * slot_seconds)
  if width < slot_seconds then
    return {}, '0'
  end
  local sums = {}
  for slot = current - recent_slots, current - 1 do
    local fields = redis.call('HGETALL', string.format('%s:slot:%d:%s', prefix, slot, queue))
    for i = 1, #fields, 2 do
      sums[fields[i]] = (sums[fields[i]] or 0) + tonumber(fields[i + 1])
    end
  end
  local flat = {}
  for field, amount in pairs(sums) do
    flat[#flat + 1] = field
    flat[#flat + 1] = string.format('%.17g', amount)
  end
  return flat, string.format('%.17g', width)
end

local names = {}
if ARGV[4] == '1' then
  names = redis.call('HKEYS', prefix .. ':queues')
else
  for i = 5, #ARGV do
    names[#names + 1] = ARGV[i]
  end
end

local queues = {}
for _, queue in ipairs(names) do
  local first_seen = redis.call('HGET', prefix .. ':queues', queue)
  if first_seen then
    local counts, width = recent(queue, tonumber(first_seen))
    local totals = redis.call('HGETALL', prefix .. ':total:' .. queue)
    local settings = redis.call('HGETALL', prefix .. ':set:' .. queue)
    queues[#queues + 1] = { queue, totals, counts, width, settings }
  end
end
return { time[1], time[2], workers, queues }
