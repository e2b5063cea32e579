#!lua flags=allow-oom,no-writes
-- What all forwarders share, for people.
-- KEYS breaker state, opened_at, failures, pause, rate window; ARGV period of the rate in µs
-- Returns {state, failures, ms since it opened, 1 while paused, ms until the next probe, alerts granted within the period}
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(now_us / 1000)
local breaker = redis.call('MGET', KEYS[1], KEYS[2], KEYS[3])
local pause = redis.call('HMGET', KEYS[4], 'epoch', 'next')
local function number(text) return tonumber(text or '0') or 0 end
return {
  breaker[1] or '',
  number(breaker[3]),
  math.max(0, now - number(breaker[2])),
  pause[1] and 1 or 0,
  math.max(0, number(pause[2]) - now),
  redis.call('ZCOUNT', KEYS[5], string.format('(%.0f', now_us - tonumber(ARGV[1])), '+inf'),
}
