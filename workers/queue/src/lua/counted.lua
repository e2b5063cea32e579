#!lua flags=allow-oom
-- Counts a push that stands before it in the same MULTI; does nothing if that push failed. The push was
-- allowed, so its counting is, too, even if it filled the memory.
-- KEYS queue, totals, commit, minute, hour, day; ARGV events, seq, commit_ttl_s
if redis.call('TYPE', KEYS[1]).ok ~= 'list' then return 0 end
local events, seq = ARGV[1], tonumber(ARGV[2])
redis.call('HINCRBY', KEYS[2], 'accepted', events)
-- Runs of pushes, as '1-6,8-9': a push that never came leaves a hole that stays visible.
local runs, from, to = string.match(redis.call('GET', KEYS[3]) or '', '^(.-)(%d+)-(%d+)$')
if not to then
  runs = ARGV[2] .. '-' .. ARGV[2]
elseif tonumber(to) == seq - 1 then
  runs = runs .. from .. '-' .. ARGV[2]
else
  runs = runs .. from .. '-' .. to .. ',' .. ARGV[2] .. '-' .. ARGV[2]
  while #runs > 400 do runs = string.match(runs, ',(.*)$') end
end
redis.call('SET', KEYS[3], runs, 'EX', ARGV[3])
local ttl_s = {7200, 172800, 2592000}
for i = 1, 3 do
  if redis.call('INCRBY', KEYS[3 + i], events) == tonumber(events) then
    redis.call('EXPIRE', KEYS[3 + i], ttl_s[i])
  end
end
return 1
