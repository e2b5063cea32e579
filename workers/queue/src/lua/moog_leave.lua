#!lua flags=allow-oom
-- A forwarder that ends lets go of all that is still leased to it, known to it or not: the next janitor, two seconds later
-- at most, puts it back.
-- KEYS leases  ARGV beginning of the worker's members
-- Reply: how many there were
local left = 0
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if string.sub(member, 1, #ARGV[1]) == ARGV[1] then
    redis.call('ZADD', KEYS[1], 0, member)
    left = left + 1
  end
end
return left
