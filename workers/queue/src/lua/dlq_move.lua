#!lua
-- Takes dead letters out of a DLQ and puts each where it belongs, so that it is never in two places.
-- LREM serves selections only: who replays everything takes from the tail.
--
-- KEYS  1 the DLQ  2 ingest queue  3 alert queue  4 dlq:dead  5 totals
-- ARGV  three per letter: its text as read, where (ingest | alert | dead | purge_event | purge_alert), text to push
-- Reply: 1 per letter that was moved, 0 for one that was no longer there
local moved = {}
for at = 1, #ARGV, 3 do
  local letter, where, text = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local at_tail = redis.call('LINDEX', KEYS[1], -1) == letter
  if at_tail or redis.call('LPOS', KEYS[1], letter, 'RANK', -1) then
    if where == 'ingest' then
      redis.call('LPUSH', KEYS[2], text)
      redis.call('HINCRBY', KEYS[5], 'replayed', 1)
    elseif where == 'alert' then
      redis.call('LPUSH', KEYS[3], text)
      redis.call('HINCRBY', KEYS[5], 'alerts_replayed', 1)
    elseif where == 'dead' then
      redis.call('LPUSH', KEYS[4], text)
    else
      redis.call('HINCRBY', KEYS[5], where == 'purge_event' and 'purged' or 'alerts_purged', 1)
    end
    if at_tail then redis.call('RPOP', KEYS[1]) else redis.call('LREM', KEYS[1], -1, letter) end
    moved[#moved + 1] = 1
  else
    moved[#moved + 1] = 0
  end
end
return moved
