#!lua flags=no-writes
-- Lapsed leases of forwarders, oldest first; their lists must be named in KEYS of moog_return.lua.
-- KEYS 1 leases   ARGV 1 at most   Reply: lease members
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, tonumber(ARGV[1]))
