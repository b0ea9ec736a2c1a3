-- Stands for the term.
--
-- Guarantee: a term that somebody holds is taken over only by compare-and-set on the number and counter that the candidate
-- saw standing still for the whole lease, on its own clock; numbers only grow. No time to live is involved, so neither a
-- step of a clock nor an outage of Redis ends a term.
--
-- KEYS  1 term · 2 leaders · 3 baton
-- ARGV  1 holder (one process life) · 2 its name · 3 number and 4 counter that stood still, or -1 -1
--       5 the highest number this process has ever seen · 6 reason, if it takes over
-- Reply {"WON", number, counter, gap in ms} or {"HELD", number, counter, holder, name}

local term = redis.call('HMGET', KEYS[1], 'number', 'holder', 'counter', 'name', 'renewed_ms')
local number, holder = tonumber(term[1] or 0), term[2] or ''
if holder == ARGV[1] then return { 'WON', number, tonumber(term[3]), 0 } end -- our own win, whose reply was lost
local stood_still = term[1] == ARGV[3] and term[3] == ARGV[4]
if holder ~= '' and not stood_still then return { 'HELD', number, tonumber(term[3]), holder, term[4] } end

local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local gap = term[5] and math.max(0, now - tonumber(term[5])) or 0
number = math.max(number, tonumber(ARGV[5])) + 1
redis.call('DEL', KEYS[3])
redis.call('HSET', KEYS[1], 'number', number, 'holder', ARGV[1], 'name', ARGV[2], 'counter', 1,
    'won_ms', now, 'renewed_ms', now, 'ticked_ms', 0)
redis.call('RPUSH', KEYS[2], cjson.encode({ number = number, holder = ARGV[1], name = ARGV[2], won_ms = now,
    reason = ARGV[6], gap_ms = gap }))
redis.call('LTRIM', KEYS[2], -100, -1)
return { 'WON', number, 1, gap }
