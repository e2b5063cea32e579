#!lua flags=allow-oom,no-writes
-- What is served, and what the live workers say about it. KEYS rules:current, rules:seq, the bundle asked for,
-- workers, rules:ack
local now = redis.call('TIME')
return {
  tonumber(redis.call('GET', KEYS[2]) or '0'),
  redis.call('GET', KEYS[1]) or '',
  redis.call('EXISTS', KEYS[3]),
  redis.call('ZRANGEBYSCORE', KEYS[4], now[1], '+inf'),
  redis.call('HGETALL', KEYS[5]),
}
