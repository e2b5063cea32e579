#!lua
-- Keeps refused items of a batch, up to a bound: all of them or none.
-- KEYS dlq, totals; ARGV max, items...; returns the depth after, or -1 = full.
local max = tonumber(ARGV[1])
if redis.call('LLEN', KEYS[1]) + #ARGV - 1 > max then return -1 end
local depth = 0
for i = 2, #ARGV, 1000 do
  depth = redis.call('LPUSH', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
redis.call('HINCRBY', KEYS[2], 'rejected', #ARGV - 1)
return depth
