#!lua flags=allow-oom,no-writes
-- Lists lapsed leases. KEYS leases; ARGV count_max; returns members, the longest lapsed first.
local now = redis.call('TIME')
local ms = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ms, 'LIMIT', 0, tonumber(ARGV[1]))
