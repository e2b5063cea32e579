#!lua flags=allow-oom,no-writes
-- What is served, and what the live workers say about it; '' of one that said nothing. KEYS rules:current, rules:seq, the
-- bundle asked for, workers, rules:ack
local now = redis.call('TIME')
local alive = redis.call('ZRANGEBYSCORE', KEYS[4], now[1], '+inf')
local said = {}
for number, worker in ipairs(alive) do
  said[number] = redis.call('HGET', KEYS[5], worker) or ''
end
return {
  tonumber(redis.call('GET', KEYS[2]) or '0'),
  redis.call('GET', KEYS[1]) or '',
  redis.call('EXISTS', KEYS[3]),
  alive,
  said,
}
