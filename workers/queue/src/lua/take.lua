#!lua flags=allow-oom
-- Moves elements from the queue's tail to a list of their own under a lease.
-- KEYS queue, list, leases, state, revision
-- ARGV member, batch, lease_ms, count_max, bytes_max, count_min, repeat ('1' = the same call again)
-- Returns {status, elements (oldest first), depth left, revision or nil}; status 1 taken, 0 nothing.
local queue, list, leases, state = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local member, batch = ARGV[1], ARGV[2]
local count_max, bytes_max, count_min = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local revision = redis.call('GET', KEYS[5])

if redis.call('ZSCORE', leases, member) then
  return {1, redis.call('LRANGE', list, 0, -1), redis.call('LLEN', queue), revision}
end
local depth = redis.call('LLEN', queue)
-- A repeat that finds no lease cannot tell "never happened" from "taken over and finished": it
-- takes nothing, and the caller goes on under a new id.
if ARGV[7] == '1' or depth == 0 or depth < count_min then
  return {0, {}, depth, revision}
end

local now = redis.call('TIME')
local ends = now[1] * 1000 + math.floor(now[2] / 1000) + tonumber(ARGV[3])
-- Registered before anything moves: should a later command fail, the list is still found.
redis.call('ZADD', leases, string.format('%.0f', ends), member)
redis.call('HSET', state, batch, 'm|0||')

local taken, bytes, largest, step, full = {}, 0, 1, 8, false
while #taken < count_max and not full do
  -- Small first: a chunk of 64 elements of 1 MiB would hold up Redis.
  local chunk = redis.call('LRANGE', queue, -math.min(step, count_max - #taken), -1)
  local moved = {}
  for i = #chunk, 1, -1 do
    local size = #chunk[i]
    if #taken > 0 and bytes + size > bytes_max then
      full = true
      break
    end
    bytes = bytes + size
    if size > largest then largest = size end
    taken[#taken + 1] = chunk[i]
    moved[#moved + 1] = chunk[i]
  end
  if #moved > 0 then
    redis.call('RPUSH', list, unpack(moved))
    redis.call('LTRIM', queue, 0, -#moved - 1)
  end
  if #chunk == 0 or redis.call('EXISTS', queue) == 0 then break end
  step = math.max(1, math.min(64, math.floor((bytes_max - bytes) / largest)))
end
return {1, taken, redis.call('LLEN', queue), revision}
