-- Records a state of the task's own while its run lasts, and tells who waits for it.
--
-- Guarantee: nothing is written once the run is over, or under somebody else's lease: a result is never overwritten by what led
-- to it (P9). It renews no lease: who reports is a child, and only its supervisor may say that the session lives.
--
-- KEYS  1 messages · 2 waited · 3 result of the run
-- ARGV  1 session that must hold the run, or "" where any may · 2 id · 3 record · 4 its ttl in ms
-- Reply 1, or 0 if nothing was written

local PREFIX = string.sub(KEYS[1], 1, -9)
local session, id = ARGV[1], ARGV[2]

local alive
if session == '' then
    alive = redis.call('HEXISTS', KEYS[1], id)
else
    alive = redis.call('HEXISTS', PREFIX .. 's:' .. session .. ':held', id)
end
if alive == 0 then return 0 end

redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[4])
if redis.call('EXISTS', KEYS[2]) == 1 and redis.call('ZSCORE', KEYS[2], id) then
    redis.call('PUBLISH', PREFIX .. 'done:' .. id, '0')
end
return 1
