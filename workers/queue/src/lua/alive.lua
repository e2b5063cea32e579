#!lua flags=allow-oom,no-writes
-- Names of the live workers. KEYS workers
local now = redis.call('TIME')
return redis.call('ZRANGEBYSCORE', KEYS[1], now[1], '+inf')
