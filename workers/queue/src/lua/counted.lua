#!lua
-- Counts a push that stands before it in the same MULTI; does nothing if that push failed.
-- KEYS queue, totals, commit, minute, hour, day; ARGV events, seq, commit_ttl_s
-- The commit key holds 'from-to', the last unbroken run of pushes.
if redis.call('TYPE', KEYS[1]).ok ~= 'list' then return 0 end
local events, seq = ARGV[1], tonumber(ARGV[2])
redis.call('HINCRBY', KEYS[2], 'accepted', events)
local from, to = string.match(redis.call('GET', KEYS[3]) or '', '^(%d+)-(%d+)$')
if tonumber(to) ~= seq - 1 then from = ARGV[2] end
redis.call('SET', KEYS[3], from .. '-' .. ARGV[2], 'EX', ARGV[3])
local ttl_s = {7200, 172800, 2592000}
for i = 1, 3 do
  if redis.call('INCRBY', KEYS[3 + i], events) == tonumber(events) then
    redis.call('EXPIRE', KEYS[3 + i], ttl_s[i])
  end
end
return 1
