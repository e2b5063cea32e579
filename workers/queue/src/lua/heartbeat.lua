#!lua flags=allow-oom
-- Refreshes a heartbeat. KEYS heartbeat, workers; ARGV worker, ttl_s, what to say
local now = redis.call('TIME')
redis.call('SET', KEYS[1], ARGV[3], 'EX', ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. now[1])
redis.call('ZADD', KEYS[2], now[1] + ARGV[2], ARGV[1])
return 1
