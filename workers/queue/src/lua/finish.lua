#!lua flags=allow-oom
-- Ends a batch: pushes what follows from it, counts, and drops list and lease, all or nothing.
-- KEYS list, leases, state, totals, alert_queue, dlq, dlq:dead, then per group: counter, triggered
-- ARGV member, batch, events, alerts n, dead letters n, those for dlq:dead n, expiry_s, threshold,
--      alerts..., dead letters..., those for dlq:dead..., then per group: count, meta-alert or ''
-- Returns {'done', alert queue depth, meta-alerts pushed} | {'gone'} (no such batch any more) |
--         {'lost'} (another owner) | {'meta', group, counter before, group, counter before, ...}
local list, leases, state, totals = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local alert_queue, dlq, dlq_dead = KEYS[5], KEYS[6], KEYS[7]
local member, batch, events = ARGV[1], ARGV[2], tonumber(ARGV[3])
local alerts, letters, last_letters = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local expiry, threshold = ARGV[7], tonumber(ARGV[8])
local dead = letters + last_letters
local first_group = 9 + alerts + dead
local groups = (#KEYS - 7) / 2

if not redis.call('ZSCORE', leases, member) then
  if redis.call('HEXISTS', state, batch) == 1 then return {'lost'} end
  return {'gone'}
end

-- A key of a wrong type must stop the script before its first write, not in the middle.
for _, key in ipairs({alert_queue, dlq, dlq_dead}) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'list' and kind ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is not a list')
  end
end
redis.call('HGET', totals, 'finished')

-- Look first: which groups cross the threshold with this batch?
local counts, crossing, wanted = {}, {}, {'meta'}
for g = 1, groups do
  local counter, triggered = KEYS[6 + 2 * g], KEYS[7 + 2 * g]
  local count, meta = tonumber(ARGV[first_group + 2 * (g - 1)]), ARGV[first_group + 2 * g - 1]
  if redis.call('EXISTS', triggered) == 0 then
    local before = tonumber(redis.call('GET', counter) or '0')
    counts[g] = count
    if before < threshold and before + count >= threshold then
      crossing[g] = meta
      if meta == '' then
        wanted[#wanted + 1] = g - 1
        wanted[#wanted + 1] = before
      end
    end
  end
end
if #wanted > 1 then return wanted end

local function push(key, first, n)
  for i = first, first + n - 1, 500 do
    redis.call('LPUSH', key, unpack(ARGV, i, math.min(i + 499, first + n - 1)))
  end
end
push(alert_queue, 9, alerts)
push(dlq, 9 + alerts, letters)
push(dlq_dead, 9 + alerts + letters, last_letters)
local metas = 0
for g = 1, groups do
  local counter, triggered = KEYS[6 + 2 * g], KEYS[7 + 2 * g]
  if crossing[g] then
    redis.call('LPUSH', alert_queue, crossing[g])
    redis.call('SET', triggered, '1', 'EX', expiry)
    redis.call('DEL', counter)
    metas = metas + 1
  elseif counts[g] then
    local after = redis.call('INCRBY', counter, counts[g])
    -- Counted from the first event on: the window does not slide.
    if after == counts[g] then redis.call('EXPIRE', counter, expiry) end
  end
end
redis.call('HINCRBY', totals, 'finished', events - dead)
if dead > 0 then redis.call('HINCRBY', totals, 'dead_lettered', dead) end
if alerts + metas > 0 then redis.call('HINCRBY', totals, 'alerts', alerts + metas) end
redis.call('UNLINK', list)
redis.call('ZREM', leases, member)
redis.call('HDEL', state, batch)
return {'done', redis.call('LLEN', alert_queue), metas}
