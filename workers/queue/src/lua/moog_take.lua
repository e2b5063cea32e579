#!lua flags=allow-oom
-- Takes alerts that may be sent now: pause and breaker allow it, the shared rate has slots, and each
-- alert moves to a list and a lease of its own. Nothing is taken that may not be sent at once.
--
-- KEYS  1 alert queue  2 leases  3 delayed  4 refused  5 pause  6 rate window  7 rate tat
--       8 breaker state  9 failures  10 opened_at  11 epoch  12 probe  13 dlq:moog  14 totals
--       15… one processing list per wanted alert
-- ARGV  1 repeat (1 = a call with these ids was sent before and its answer was lost)
--       2 bytes at most  3 lease ms  4 rate limit (0 = none)  5 rate period µs
--       6 breaker threshold (0 = off)  7 breaker time-out ms  8 probe lifetime ms
--       9 fingerprint of URL and key  10 time of the caller, for envelopes
--       11… one lease member per wanted alert, in the order of the lists
-- Reply: status, wait ms (-1 = until something happens), breaker epoch, pause epoch, probe flags,
--        breaker state, failures, transition (state entered by this call or ''), depth, bodies
local queue, leases, delayed, refused, pause = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local window, tat_key = KEYS[6], KEYS[7]
local first_list, first_lease = 15, 11
local want = #ARGV - first_lease + 1
local bytes_max = tonumber(ARGV[2])
local lease_ms = tonumber(ARGV[3])
local limit, period_us = tonumber(ARGV[4]), tonumber(ARGV[5])
local threshold, open_ms, probe_ms = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local BREAKER_PROBE, PAUSE_PROBE, FROM_REFUSED = 1, 2, 4
local DRAIN_MAX = 200

local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(now_us / 1000)
local function int(number) return string.format('%.0f', number) end

local breaker = redis.call('MGET', KEYS[8], KEYS[9], KEYS[10], KEYS[11])
-- What an operator or another version left there counts as closed, never as stuck.
local function number(text) return tonumber(text or '0') or 0 end
local state = (breaker[1] == 'OPEN' or breaker[1] == 'HALF_OPEN') and breaker[1] or 'CLOSED'
local failures, opened_at, epoch = number(breaker[2]), number(breaker[3]), number(breaker[4])
local transition, flags, pause_epoch = '', 0, 0

local function answer(status, wait, bodies)
  return {status, math.ceil(wait), epoch, pause_epoch, flags, state, failures, transition,
          redis.call('LLEN', queue), bodies or {}}
end

-- The answer to an earlier call was lost: what it took is still leased, give that.
if ARGV[1] == '1' then
  local found = {}
  for i = 1, want do
    if redis.call('ZSCORE', leases, ARGV[first_lease + i - 1]) then
      found[#found + 1] = redis.call('LINDEX', KEYS[first_list + i - 1], 0)
    else
      break
    end
  end
  if #found > 0 then
    -- A probe is alone in its take; whether it was one is told by the token's and the pause's holder.
    if redis.call('GET', KEYS[12]) == ARGV[first_lease] then flags = flags + BREAKER_PROBE end
    local held = redis.call('HMGET', pause, 'prober', 'epoch', 'source')
    if held[1] == ARGV[first_lease] then
      flags = flags + PAUSE_PROBE
      pause_epoch = tonumber(held[2])
      if held[3] == 'refused' then flags = flags + FROM_REFUSED end
    end
    return answer('granted', 0, found)
  end
end

-- A pause that has ended: the refused alerts leave, a bounded number per call.
local function drain(where)
  for _ = 1, DRAIN_MAX do
    local entry = redis.call('LINDEX', refused, -1)
    if not entry then
      redis.call('DEL', pause)
      return true
    end
    local colon = string.find(entry, ':', 1, true)
    local size = tonumber(string.sub(entry, 1, colon - 1))
    local body = string.sub(entry, colon + 1, colon + size)
    if where == 'queue' then
      -- Newest first, so that the oldest ends at the tail and is taken first.
      redis.call('RPUSH', queue, body)
    else
      redis.call('LPUSH', KEYS[13], '{"alert":' .. body .. string.sub(entry, colon + size + 1)
        .. ',"dead_lettered_at":"' .. ARGV[10] .. '"}')
      redis.call('HINCRBY', KEYS[14], 'alerts_dead_lettered', 1)
    end
    redis.call('RPOP', refused)
  end
  return false
end

local paused = redis.call('HMGET', pause, 'epoch', 'fingerprint', 'next', 'drain')
if paused[1] then
  if not paused[4] and paused[2] ~= ARGV[9] then
    -- Another key or URL: what was refused may pass now.
    redis.call('HSET', pause, 'drain', 'queue')
    paused[4] = 'queue'
  end
  if paused[4] then
    if not drain(paused[4]) then return answer('paused', 0) end
    paused[1] = false
  end
end

-- The next alert in turn without taking it: a due retry, then the queue's tail, then (probes of a
-- pause only) the one refused longest ago.
local function peek()
  local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, 1)
  if due[1] then return 'delayed', string.sub(due[1], 38), due[1] end
  local tail = redis.call('LINDEX', queue, -1)
  if tail then return 'queue', tail end
  if paused[1] then
    local entry = redis.call('LINDEX', refused, 0)
    if entry then
      local colon = string.find(entry, ':', 1, true)
      return 'refused', string.sub(entry, colon + 1, colon + tonumber(string.sub(entry, 1, colon - 1)))
    end
  end
  return nil
end

if want < 1 then return answer('busy', -1) end
if paused[1] then
  pause_epoch = tonumber(paused[1])
  local next_probe = tonumber(paused[3])
  if now < next_probe then return answer('paused', next_probe - now) end
end
if not peek() then
  local due = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  return answer('empty', due[2] and math.max(0, tonumber(due[2]) - now) or -1)
end

if threshold > 0 and state ~= 'CLOSED' then
  if state == 'OPEN' then
    if now < opened_at + open_ms then return answer('open', opened_at + open_ms - now) end
    state, transition = 'HALF_OPEN', 'HALF_OPEN'
    redis.call('SET', KEYS[8], state)
  end
  local held_ms = redis.call('PTTL', KEYS[12])
  if held_ms ~= -2 then return answer('probing', math.max(1, held_ms)) end
  flags, want = flags + BREAKER_PROBE, 1
end
if paused[1] then flags, want = flags + PAUSE_PROBE, 1 end

-- Slots: the sliding window bounds every window; GCRA (ITU-T I.371) spaces them evenly at 97 % of the
-- rate with a burst of a tenth. The window is as long as the limit takes at that rate, so that
-- grants that reach the receiver bunched by up to 3 % of the period still keep the limit there.
local interval, tat, span
if limit > 0 then
  span = period_us / 0.97
  interval = span / limit
  local tolerance = (math.max(1, math.floor(limit / 10)) - 1) * interval
  redis.call('ZREMRANGEBYSCORE', window, '-inf', '(' .. int(now_us - span))
  local left = limit - redis.call('ZCARD', window)
  if left < 1 then
    local oldest = redis.call('ZRANGE', window, 0, 0, 'WITHSCORES')
    return answer('limited', math.max(1, (tonumber(oldest[2]) + span - now_us + 1) / 1000))
  end
  tat = math.max(now_us, tonumber(redis.call('GET', tat_key) or '0'))
  -- A rate raised at run time must not wait for a debt made at the old one.
  tat = math.min(tat, now_us + tolerance + interval)
  local ahead = tat - now_us
  if ahead > tolerance then return answer('limited', math.max(1, (ahead - tolerance) / 1000)) end
  want = math.min(want, left, math.floor((tolerance - ahead) / interval) + 1)
end

local bodies, bytes, source = {}, 0, nil
for i = 1, want do
  local from, body, member = peek()
  if not from or (i > 1 and bytes + #body > bytes_max) then break end
  local list, lease = KEYS[first_list + i - 1], ARGV[first_lease + i - 1]
  redis.call('RPUSH', list, body)
  redis.call('ZADD', leases, now + lease_ms, lease)
  if from == 'delayed' then redis.call('ZREM', delayed, member)
  elseif from == 'queue' then redis.call('RPOP', queue)
  else redis.call('LPOP', refused) end
  if limit > 0 then redis.call('ZADD', window, int(now_us), lease) end
  bodies[i], bytes, source = body, bytes + #body, from
end

if limit > 0 then
  redis.call('PEXPIRE', window, int(span / 1000 + 1000))
  redis.call('SET', tat_key, int(tat + #bodies * interval), 'PX', int(span / 1000 + 1000))
end
if flags % 2 == 1 then redis.call('SET', KEYS[12], ARGV[first_lease], 'PX', probe_ms) end
if paused[1] then
  if source == 'refused' then flags = flags + FROM_REFUSED end
  redis.call('HSET', pause, 'next', int(now + probe_ms), 'prober', ARGV[first_lease], 'source', source)
end
return answer('granted', 0, bodies)
