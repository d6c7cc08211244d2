-- Reads the ledger at one instant, and changes nothing. KEYS[1]: prefix. ARGV: slot width, number of recent
-- slots (0: nothing recent is wanted), seconds of presence, then two lists, each with its length first: queues and
-- fields; -1 stands for all.
-- Returns {seconds, microseconds, presences, queues}: a line for each presence, and [[queue, totals, recent, width,
-- settings], …] as JSON, of texts alone; totals, recent and settings are flat lists. Two long texts are read much faster
-- than ten thousand short ones.
local prefix = KEYS[1]
local slot_seconds, recent_slots = tonumber(ARGV[1]), tonumber(ARGV[2])
local presence_seconds = tonumber(ARGV[3])
local cursor = 3

local function take_list()
  cursor = cursor + 1
  local length = tonumber(ARGV[cursor])
  if length < 0 then
    return nil
  end
  local list = {}
  for i = 1, length do
    list[i] = ARGV[cursor + i]
  end
  cursor = cursor + length
  return list
end

local names = take_list() or redis.call('HKEYS', prefix .. ':queues')
local fields = take_list()

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local current = math.floor(now / slot_seconds)

local workers = {}
-- '(' leaves the bound itself out: who was last heard of that long ago is gone.
local since = string.format('(%.6f', now - presence_seconds)
local writers = redis.call('ZRANGEBYSCORE', prefix .. ':seen', since, '+inf')
for first = 1, #writers, 1000 do -- Lua unpacks no more than some thousand values at a time
  local last = math.min(first + 999, #writers)
  for _, presence in ipairs(redis.call('HMGET', prefix .. ':workers', unpack(writers, first, last))) do
    if presence then
      workers[#workers + 1] = presence
    end
  end
end

-- The wanted counters of a hash, flat.
local function read(key)
  if not fields then
    return redis.call('HGETALL', key)
  end
  local flat = {}
  if #fields > 0 then
    for i, value in ipairs(redis.call('HMGET', key, unpack(fields))) do
      if value then
        flat[#flat + 1] = fields[i]
        flat[#flat + 1] = value
      end
    end
  end
  return flat
end

-- The same as recent_window in base.py.
local function recent(queue, first_seen)
  if recent_slots == 0 then
    return {}, '0'
  end
  local width = current * slot_seconds - math.max(first_seen, (current - recent_slots) * slot_seconds)
  if width < slot_seconds then
    return {}, '0'
  end
  local sums = {}
  for slot = current - recent_slots, current - 1 do
    local counts = read(string.format('%s:slot:%d:%s', prefix, slot, queue))
    for i = 1, #counts, 2 do
      sums[counts[i]] = (sums[counts[i]] or 0) + tonumber(counts[i + 1])
    end
  end
  local flat = {}
  for field, amount in pairs(sums) do
    flat[#flat + 1] = field
    flat[#flat + 1] = string.format('%.17g', amount)
  end
  return flat, string.format('%.17g', width)
end

local queues = {}
for _, queue in ipairs(names) do
  local first_seen = redis.call('HGET', prefix .. ':queues', queue)
  if first_seen then
    local counts, width = recent(queue, tonumber(first_seen))
    local totals = read(prefix .. ':total:' .. queue)
    local settings = redis.call('HGETALL', prefix .. ':set:' .. queue)
    queues[#queues + 1] = { queue, totals, counts, width, settings }
  end
end
return { time[1], time[2], table.concat(workers, '\n'), cjson.encode(queues) }
