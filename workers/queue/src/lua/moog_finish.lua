#!lua flags=allow-oom
-- Ends leases, each for itself: what follows an alert is written first, its list and lease go last.
-- A lease that is no longer there was taken over by a janitor: its result changes nothing.
--
-- KEYS  1 alert queue  2 leases  3 delayed  4 refused  5 pause  6 dlq:moog  7 dlq:dead  8 totals
--       9 breaker state  10 failures  11 opened_at  12 epoch  13 probe  14… one processing list per result
-- ARGV  1 breaker threshold (0 = off), then nine per result:
--       lease member, what (delivered | delayed | dlq | dead | refused | back), verdict for the breaker
--       (good | bad | busy | none), breaker epoch, pause epoch, probe flags, text, ms, fingerprint
--       text: delayed = the alert; dlq, dead = the envelope; refused = `<length of alert>:<alert><rest of envelope>`
--       ms: delayed = wait; refused = until the next probe; busy = how long the receiver wants peace
-- Reply: breaker state, failures, states entered by this call, paused (0|1), owned (0|1) per result
local queue, leases, delayed, refused, pause = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local dlq, dead, totals = KEYS[6], KEYS[7], KEYS[8]
local state_key, failures_key, opened_key, epoch_key, probe_key = KEYS[9], KEYS[10], KEYS[11], KEYS[12], KEYS[13]
local threshold = tonumber(ARGV[1])
local BREAKER_PROBE, PAUSE_PROBE, FROM_REFUSED = 1, 2, 4

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function int(number) return string.format('%.0f', number) end
local function has(flags, flag) return flags % (2 * flag) >= flag end

local breaker = redis.call('MGET', state_key, failures_key, epoch_key)
local function number(text) return tonumber(text or '0') or 0 end
local state = (breaker[1] == 'OPEN' or breaker[1] == 'HALF_OPEN') and breaker[1] or 'CLOSED'
local failures, epoch = number(breaker[2]), number(breaker[3])
local entered, owned = {}, {}

local function enter(new_state, new_failures)
  state, failures, epoch = new_state, new_failures, epoch + 1
  redis.call('MSET', state_key, state, failures_key, int(failures), epoch_key, int(epoch))
  if state == 'OPEN' then redis.call('SET', opened_key, int(now)) end
  redis.call('DEL', probe_key)
  entered[#entered + 1] = state
end

-- Only results of the present epoch count: what was sent before the breaker opened says nothing new.
local function judge(verdict, of_epoch, flags, ms)
  if threshold == 0 or of_epoch ~= epoch then return end
  local probe = has(flags, BREAKER_PROBE)
  if state == 'CLOSED' then
    if verdict == 'good' and failures > 0 then
      failures = 0
      redis.call('SET', failures_key, '0')
    elseif verdict == 'bad' then
      failures = failures + 1
      redis.call('SET', failures_key, int(failures))
      if failures >= threshold then enter('OPEN', failures) end
    end
  elseif state == 'HALF_OPEN' and probe then
    if verdict == 'good' then enter('CLOSED', 0)
    elseif verdict == 'bad' then enter('OPEN', failures)
    elseif verdict == 'busy' then redis.call('PEXPIRE', probe_key, math.max(1, ms))
    else redis.call('DEL', probe_key) end
  end
end

local function refuse(text, ms, fingerprint, probing)
  redis.call('RPUSH', refused, text)
  if redis.call('EXISTS', pause) == 0 then
    redis.call('HSET', pause, 'epoch', int(now), 'fingerprint', fingerprint, 'next', int(now + ms))
  elseif probing then
    redis.call('HSET', pause, 'next', int(now + ms), 'fingerprint', fingerprint)
  end
end

-- A probe came through: the refusals before it were the alerts' own fault, unless the probe is one of them.
local function resume(flags)
  redis.call('HSET', pause, 'drain', has(flags, FROM_REFUSED) and 'queue' or 'dlq')
end

local index = 0
for at = 2, #ARGV, 9 do
  local lease, what, verdict = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local of_epoch, of_pause, flags = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local text, ms, fingerprint = ARGV[at + 6], tonumber(ARGV[at + 7]), ARGV[at + 8]
  local list = KEYS[14 + index]
  index = index + 1
  if redis.call('ZSCORE', leases, lease) then
    local probing = has(flags, PAUSE_PROBE) and redis.call('HGET', pause, 'epoch') == int(of_pause)
    if what == 'delivered' then
      redis.call('HINCRBY', totals, 'alerts_delivered', 1)
      if probing then resume(flags) end
    elseif what == 'delayed' then
      redis.call('ZADD', delayed, int(now + ms), string.sub(lease, -36) .. ':' .. text)
    elseif what == 'dlq' or what == 'dead' then
      redis.call('LPUSH', what == 'dlq' and dlq or dead, text)
      redis.call('HINCRBY', totals, 'alerts_dead_lettered', 1)
    elseif what == 'refused' then
      refuse(text, ms, fingerprint, probing)
    else
      redis.call('RPUSH', queue, redis.call('LINDEX', list, 0))
    end
    -- A probe that proved nothing about key and URL leaves the next one to be tried at once.
    if probing and what ~= 'refused' and what ~= 'delivered' then redis.call('HSET', pause, 'next', int(now + ms)) end
    redis.call('UNLINK', list)
    redis.call('ZREM', leases, lease)
    judge(verdict, of_epoch, flags, ms)
    owned[index] = 1
  else
    owned[index] = 0
  end
end
return {state, failures, entered, redis.call('EXISTS', pause), owned}
