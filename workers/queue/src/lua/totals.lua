#!lua flags=allow-oom,no-writes
-- Reads all terms of both balances at one moment. This script alone derives keys (the lists in
-- flight) from the leases; it is read-only.
-- KEYS totals, ingest_queue, leases:alerter, alert_queue, leases:moog, delayed, refused,
--      dlq:ingest, dlq:alerter, dlq:moog, dlq:dead; ARGV the prefix of the alerter's lists in flight
-- Returns {totals as a flat list, nine depths, events in flight}.
local depths = {
  redis.call('LLEN', KEYS[2]), redis.call('LLEN', KEYS[4]), redis.call('ZCARD', KEYS[5]),
  redis.call('ZCARD', KEYS[6]), redis.call('LLEN', KEYS[7]), redis.call('LLEN', KEYS[8]),
  redis.call('LLEN', KEYS[9]), redis.call('LLEN', KEYS[10]), redis.call('LLEN', KEYS[11]),
}
local in_flight = 0
for _, member in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  local batch, worker = string.match(member, '^([^:]+):%d+:(.+)$')
  if batch then
    in_flight = in_flight + redis.call('LLEN', ARGV[1] .. ':' .. worker .. ':' .. batch)
  end
end
return {redis.call('HGETALL', KEYS[1]), depths, in_flight}
