#!lua flags=allow-oom
-- Gives one lapsed batch to a new owner under a new fence, exactly once.
-- KEYS leases, state, old list, new list; ARGV old member, new member, batch, lease_ms
-- Returns {status, elements, state}; status 1 taken over, 0 somebody else was first or it is
-- renewed, 2 its elements are gone (Redis lost data) and the lease is dropped.
local leases, state, old_list, new_list = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local old, new, batch = ARGV[1], ARGV[2], ARGV[3]
if redis.call('ZSCORE', leases, new) then
  return {1, redis.call('LRANGE', new_list, 0, -1), redis.call('HGET', state, batch) or 'm|0||'}
end
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local ends = redis.call('ZSCORE', leases, old)
if not ends or tonumber(ends) > ms then return {0, {}, ''} end

local was = redis.call('HGET', state, batch) or 'm|0||'
local phase, tries, index, poisoned = string.match(was, '^(%a)|(%d+)|(%d*)|([%d,]*)$')
tries, index, poisoned = tonumber(tries or '0'), index or '', poisoned or ''
if phase == 'm' then
  tries = tries + 1
  if index ~= '' then
    poisoned = poisoned == '' and index or (poisoned .. ',' .. index)
  end
end
redis.call('ZREM', leases, old)
if redis.call('EXISTS', old_list) == 0 then
  redis.call('HDEL', state, batch)
  return {2, {}, ''}
end
local is = 'm|' .. string.format('%.0f', tries) .. '||' .. poisoned
redis.call('ZADD', leases, string.format('%.0f', ms + tonumber(ARGV[4])), new)
redis.call('HSET', state, batch, is)
redis.call('RENAME', old_list, new_list)
return {1, redis.call('LRANGE', new_list, 0, -1), is}
