-- Says what became of a line that `collect` gave out.
--
-- Guarantee: only while the line is the caller's. What was sent, or given up, leaves it; a line that failed waits.
--
-- KEYS  1 outbox or pings · 2 its failures · 3 alert_log
-- ARGV  1 name of the line · 2 until when it was the caller's · 3 "" if it went out, else after how many ms to try again
--       4 what the log keeps of it, or "" · 5… what leaves the line, each as it was given out
-- Reply "OK", "LATE" (it is somebody else's by now)

--@include outbox

local set, failures, name = KEYS[1], KEYS[2], ARGV[1]
local score = redis.call('ZSCORE', set, name)
if not score or tonumber(score) ~= tonumber(ARGV[2]) then return 'LATE' end

local key = line_key(set, name)
redis.call('HDEL', failures, '') -- a first write that needs no memory
for i = 5, #ARGV do redis.call('LREM', key, 1, ARGV[i]) end
if redis.call('EXISTS', key) == 0 then
    redis.call('ZREM', set, name)
    redis.call('HDEL', failures, name)
elseif ARGV[3] == '' then
    redis.call('HDEL', failures, name)
    redis.call('ZADD', set, redis_ms(), name)
else
    redis.call('HINCRBY', failures, name, 1)
    redis.call('ZADD', set, redis_ms() + ARGV[3], name)
end
if ARGV[4] ~= '' then log_notice(KEYS[3], ARGV[4]) end
return 'OK'
