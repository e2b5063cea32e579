#!lua
-- Pushes a group of requests of which some carry an idempotency key.
-- KEYS queue, totals, commit, minute, hour, day, then one idempotency key for each that has one
-- ARGV seq, commit_ttl_s, idem_ttl_s, requests n,
--      then per request: index of its key in KEYS or '0', answer, elements n; then all elements
-- Returns {depth, {answer of an earlier request or false, ...}}.
local queue, totals, commit = KEYS[1], KEYS[2], KEYS[3]
local seq, requests = tonumber(ARGV[1]), tonumber(ARGV[4])
local element, events, depth = 5 + 3 * requests, 0, nil
local answers = {}
for r = 1, requests do
  local key, answer, n = tonumber(ARGV[2 + 3 * r]), ARGV[3 + 3 * r], tonumber(ARGV[4 + 3 * r])
  local earlier = key > 0 and redis.call('GET', KEYS[key])
  answers[r] = earlier or false
  if not earlier then
    -- The push comes first: its error ends the script before anything is written.
    for i = element, element + n - 1, 1000 do
      depth = redis.call('LPUSH', queue, unpack(ARGV, i, math.min(i + 999, element + n - 1)))
    end
    if key > 0 then redis.call('SET', KEYS[key], answer, 'EX', ARGV[3]) end
    events = events + n
  end
  element = element + n
end
if events > 0 then redis.call('HINCRBY', totals, 'accepted', events) end
-- Runs of pushes, as '1-6,8-9': a push that never came leaves a hole that stays visible.
local runs, from, to = string.match(redis.call('GET', commit) or '', '^(.-)(%d+)-(%d+)$')
if not to then
  runs = ARGV[1] .. '-' .. ARGV[1]
elseif tonumber(to) == seq - 1 then
  runs = runs .. from .. '-' .. ARGV[1]
else
  runs = runs .. from .. '-' .. to .. ',' .. ARGV[1] .. '-' .. ARGV[1]
  while #runs > 400 do runs = string.match(runs, ',(.*)$') end
end
redis.call('SET', commit, runs, 'EX', ARGV[2])
if events > 0 then
  local ttl_s = {7200, 172800, 2592000}
  for i = 1, 3 do
    if redis.call('INCRBY', KEYS[3 + i], events) == events then
      redis.call('EXPIRE', KEYS[3 + i], ttl_s[i])
    end
  end
end
return {depth or redis.call('LLEN', queue), answers}
