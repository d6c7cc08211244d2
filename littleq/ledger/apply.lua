-- Adds one batch to the ledger. The keys are described in redis.py, the arguments are packed by its
-- `_batch_arguments`. KEYS[1]: prefix. ARGV: widths and expiries, then writer, sequence, age, span, presence, running,
-- then two lists, each with its length first: settings (queue, name, JSON value) and counts (queue, number of
-- fields, then field, amount, …).
local prefix = KEYS[1]
local cursor = 0
local function take()
  cursor = cursor + 1
  return ARGV[cursor]
end

local slot_seconds, recent_slots = tonumber(take()), tonumber(take())
local slot_expiry, sequence_expiry, settings_expiry = take(), take(), take()
local presence_seconds = tonumber(take())
local writer, sequence = take(), tonumber(take())
local age, span = tonumber(take()), tonumber(take())
local presence, running = take(), take()

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local ended = now - age
local began = ended - span

local function first_seen(queue, when)
  redis.call('HSETNX', prefix .. ':queues', queue, string.format('%.6f', when))
end

-- Amounts stay strings as far as they can: a Lua number printed by Lua has 14 digits.
local function add(key, field, amount)
  if not string.find(amount, '[^%d%-]') then
    -- Fails where the field holds a sum that is not whole.
    local reply = redis.pcall('HINCRBY', key, field, amount)
    if type(reply) ~= 'table' or not reply.err then
      return
    end
  end
  redis.call('HINCRBYFLOAT', key, field, amount)
end

-- The same as slot_shares in base.py.
local function slot_shares()
  local last = math.floor(ended / slot_seconds)
  if span <= 0 then
    return { { last, 1 } }
  end
  local shares = {}
  local first = math.max(math.floor(began / slot_seconds), math.floor(now / slot_seconds) - recent_slots)
  for slot = first, last do
    local overlap = math.min(ended, (slot + 1) * slot_seconds) - math.max(began, slot * slot_seconds)
    if overlap > 0 then
      shares[#shares + 1] = { slot, overlap / (ended - began) }
    end
  end
  return shares
end

local function count(queue, fields, shares)
  first_seen(queue, began)
  for i = 1, #fields, 2 do
    add(prefix .. ':total:' .. queue, fields[i], fields[i + 1])
  end
  for _, slot_share in ipairs(shares) do
    local key, share = string.format('%s:slot:%d:%s', prefix, slot_share[1], queue), slot_share[2]
    for i = 1, #fields, 2 do
      local amount = fields[i + 1]
      if share < 1 then
        amount = string.format('%.17g', tonumber(amount) * share)
      end
      add(key, fields[i], amount)
    end
    redis.call('EXPIRE', key, slot_expiry)
  end
end

local settings = {}
for i = 1, tonumber(take()) do
  settings[i] = { take(), take(), take() }
end
local counts = {}
for i = 1, tonumber(take()) do
  local queue, fields = take(), {}
  for j = 1, 2 * tonumber(take()) do
    fields[j] = take()
  end
  counts[i] = { queue, fields }
end

-- The sequence is written first: where the server takes no writes (memory full, read-only, disk error) it is
-- this command that fails, and nothing of the batch is in.
local applied = 0
if #counts > 0 then
  local key = prefix .. ':seq:' .. writer
  if sequence > tonumber(redis.call('GET', key) or '0') then
    redis.call('SET', key, string.format('%d', sequence), 'EX', sequence_expiry)
    local shares = slot_shares()
    for _, queue_fields in ipairs(counts) do
      count(queue_fields[1], queue_fields[2], shares)
    end
    applied = 1
  end
end

local stamp = string.format('%.6f', now)
for _, setting in ipairs(settings) do
  local key = prefix .. ':set:' .. setting[1]
  first_seen(setting[1], now)
  redis.call('HSET', key, setting[2], stamp .. ' ' .. setting[3])
  redis.call('EXPIRE', key, settings_expiry)
end

if presence ~= '' then
  redis.call('ZADD', prefix .. ':seen', stamp, writer)
  redis.call('HSET', prefix .. ':workers', writer, presence)
  if running == '0' then
    redis.call('HDEL', prefix .. ':busy', writer)
  else
    redis.call('HSET', prefix .. ':busy', writer, running)
  end
  local long_ago = string.format('%.6f', now - presence_seconds)
  local gone = redis.call('ZRANGEBYSCORE', prefix .. ':seen', '-inf', long_ago, 'LIMIT', 0, 100)
  for _, other in ipairs(gone) do
    redis.call('ZREM', prefix .. ':seen', other)
    redis.call('HDEL', prefix .. ':workers', other)
    redis.call('HDEL', prefix .. ':busy', other)
  end
end
return applied
