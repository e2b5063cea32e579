#!lua flags=allow-oom
-- KEYS: rules:current, rules:seq, the new bundle, the bundle that was current
-- ARGV: sequence number, revision, document, seconds that the old bundle is kept, two channels
-- Bundle before pointer; a smaller or equal sequence number changes nothing. Returns whether it did, and the number held.
local held = tonumber(redis.call('GET', KEYS[2]) or '0')
if tonumber(ARGV[1]) <= held then
  return {0, held}
end
redis.call('SET', KEYS[3], ARGV[3])
if KEYS[4] ~= KEYS[3] then
  redis.call('EXPIRE', KEYS[4], ARGV[4])
end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('SET', KEYS[1], ARGV[2])
redis.call('PUBLISH', ARGV[5], ARGV[2])
redis.call('PUBLISH', ARGV[6], ARGV[2])
return {1, tonumber(ARGV[1])}
