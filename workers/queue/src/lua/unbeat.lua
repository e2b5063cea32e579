#!lua flags=allow-oom
-- Removes a heartbeat; a script, because a full Redis refuses even DEL inside MULTI.
-- KEYS heartbeat, workers; ARGV worker
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
