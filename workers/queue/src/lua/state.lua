#!lua flags=allow-oom
-- Changes the phase and the element in hand of a leased batch, and lengthens or ends its lease.
-- KEYS leases, state; ARGV member, batch, lease_ms (negative = lapses now), phase, index or ''
-- Returns 1, or 0 if the lease is lost.
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
local now = redis.call('TIME')
local ends = now[1] * 1000 + math.floor(now[2] / 1000) + tonumber(ARGV[3])
if tonumber(ARGV[3]) < 0 then ends = 0 end
local old = redis.call('HGET', KEYS[2], ARGV[2]) or 'm|0||'
local tries, poisoned = string.match(old, '^%a|(%d+)|%d*|([%d,]*)$')
redis.call('HSET', KEYS[2], ARGV[2], ARGV[4] .. '|' .. (tries or '0') .. '|' .. ARGV[5] .. '|' .. (poisoned or ''))
redis.call('ZADD', KEYS[1], string.format('%.0f', ends), ARGV[1])
return 1
