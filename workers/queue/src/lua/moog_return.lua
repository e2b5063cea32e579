#!lua flags=allow-oom
-- The janitor's second step: alerts of leases that are still lapsed go back to the tail, oldest last.
-- KEYS 1 alert queue  2 leases  3… lists, in the order of the leases   ARGV lease members, oldest first
-- Reply: alerts that went back
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local returned = 0
for i = #ARGV, 1, -1 do
  local lapses = redis.call('ZSCORE', KEYS[2], ARGV[i])
  if lapses and tonumber(lapses) <= now then
    local body = redis.call('LINDEX', KEYS[2 + i], 0)
    if body then
      redis.call('RPUSH', KEYS[1], body)
      redis.call('UNLINK', KEYS[2 + i])
      returned = returned + 1
    end
    redis.call('ZREM', KEYS[2], ARGV[i])
  end
end
return returned
