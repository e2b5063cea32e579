#!lua flags=allow-oom,no-writes
-- Reads all terms of both balances, and how old the oldest elements are, at one moment. This script alone derives
-- keys (the lists in flight) from the leases; it is read-only.
-- KEYS totals, ingest_queue, leases:alerter, alert_queue, leases:moog, delayed, refused,
--      dlq:ingest, dlq:alerter, dlq:moog, dlq:dead; ARGV the prefixes of the alerters' and forwarders' lists in flight
-- Returns {totals as a flat list, nine depths, events in flight, now in µs, four times of acceptance as text: ingest
-- queue, events in flight, alert queue, alerts in flight; '' = empty, or the element does not say}.

-- The pipeline's own keys come last in an event, and an event's text comes last but a few names in an alert: the last
-- 4 KiB hold the time, and bound the search in an element of megabytes. Anchored, or Lua would begin anew at every byte:
-- 72 ms instead of 0.04 where there is no time. What was replayed says nothing: it lay in a dead letter queue meanwhile.
local function received(list, index)
  local element = redis.call('LINDEX', list, index)
  if not element then return '' end
  local tail = string.sub(element, -4096)
  if string.find(tail, '"_replays":', 1, true) then return '' end
  return string.match(tail, '^.*"_received_at":"([^"]*)"') or ''
end

local depths = {
  redis.call('LLEN', KEYS[2]), redis.call('LLEN', KEYS[4]), redis.call('ZCARD', KEYS[5]),
  redis.call('ZCARD', KEYS[6]), redis.call('LLEN', KEYS[7]), redis.call('LLEN', KEYS[8]),
  redis.call('LLEN', KEYS[9]), redis.call('LLEN', KEYS[10]), redis.call('LLEN', KEYS[11]),
}
-- Ids of batches begin with the time of their take, so the least one holds about the oldest events.
local in_flight, first, first_list = 0, nil, nil
for _, member in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  local batch, worker = string.match(member, '^([^:]+):%d+:(.+)$')
  if batch then
    local list = ARGV[1] .. ':' .. worker .. ':' .. batch
    in_flight = in_flight + redis.call('LLEN', list)
    if not first or batch < first then first, first_list = batch, list end
  end
end
-- Leases of alerts are not renewed: the one that ends first was taken first.
local alert = redis.call('ZRANGE', KEYS[5], 0, 0)[1]
local worker, lease = string.match(alert or '', '^(.+)|([^|]+)$')
local time = redis.call('TIME')
return {
  redis.call('HGETALL', KEYS[1]), depths, in_flight, time[1] * 1000000 + time[2],
  {
    received(KEYS[2], -1),
    first_list and received(first_list, 0) or '',
    received(KEYS[4], -1),
    worker and received(ARGV[2] .. ':' .. worker .. ':' .. lease, 0) or '',
  },
}
