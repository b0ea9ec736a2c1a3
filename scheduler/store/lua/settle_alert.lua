-- Raises an alert, or says that it is over; and puts that into the line of each hook.
--
-- Guarantee: only if what stands there is what the caller saw, so each is raised once and over once, however many beats see it;
-- and only if all that it was judged by still stands as it was read. A full Redis takes it, too.
--
-- KEYS  1 alerts · 2 outbox · 3 alert_log · 4 meta · 5… the hashes that it was judged by
-- ARGV  1 what it is about · 2 what stands there, "" for nothing · 3 what is to stand there, "" for nothing
--       4 what hooks are told · 5 what the log keeps of it, or "" · 6 how many hooks, then these;
--       then a field of each hash from KEYS[5] on, and what it held ("" for nothing)
-- Reply "OK", "OTHER" (something else stands there), "STALE" (it was judged by what has changed)

--@include outbox

local LINE_MAX = 1000
local about, seen, new, told, notice, hooks_n = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
if (redis.call('HGET', KEYS[1], about) or '') ~= seen then return 'OTHER' end
for i = 5, #KEYS do
    local at = 7 + hooks_n + 2 * (i - 5)
    if (redis.call('HGET', KEYS[i], ARGV[at]) or '') ~= ARGV[at + 1] then return 'STALE' end
end

redis.call('HDEL', KEYS[1], about) -- a first write that needs no memory
if new ~= '' then redis.call('HSET', KEYS[1], about, new) end
redis.call('HINCRBY', KEYS[4], 'alerts', 1)
if notice ~= '' then log_notice(KEYS[3], notice) end
local now, dropped = redis_ms(), 0
for i = 7, 6 + hooks_n do dropped = dropped + put_out(KEYS[2], ARGV[i], told, LINE_MAX, now) end
if dropped > 0 then redis.call('HINCRBY', KEYS[4], 'alerts_dropped', dropped) end
return 'OK'
