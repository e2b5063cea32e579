#!lua flags=allow-oom
-- Refreshes a heartbeat, and removes what died workers left: their places and what they said of their rules.
-- KEYS heartbeat, workers, rules:ack; ARGV worker, ttl_s, what to say
local now = redis.call('TIME')
redis.call('SET', KEYS[1], ARGV[3], 'EX', ARGV[2])
redis.call('ZADD', KEYS[2], now[1] + ARGV[2], ARGV[1])
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. now[1])) do
  redis.call('ZREM', KEYS[2], worker)
  redis.call('HDEL', KEYS[3], worker)
end
return 1
