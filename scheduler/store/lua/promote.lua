-- Promotes what is due in the given queues, at most `limit` messages altogether.
--
-- Guarantee: a fire leaves its delayed set with exactly one outcome, recorded in the same moment (P2); nothing is promoted
-- before its time by Redis' clock (P10). Under no lease: whoever calls it helps.
--
-- KEYS  1–12 core
-- ARGV  1 limit (at most 1,000) · 2 "1" to be told of each fire · 3… queues
-- Reply {now in µs, promoted, moment of the next message in ms or -1, more (0 or 1), told}

--@include core header ready line end limits outcome promote_due

local limit, want_told = tonumber(ARGV[1]), ARGV[2] == '1'
local now, now_us = server_time()
local told = want_told and {} or nil
local count, next_due, more = 0, -1, 0

redis.call('HDEL', SLOTS, '') -- the first write needs no memory, so that a full Redis can still be emptied
for i = 3, #ARGV do
    if count < limit then count = count + promote_due(ARGV[i], now, limit - count, told) end
    local head = next_due_of(ARGV[i])
    if head and head <= now then more = 1 end
    if head and (next_due < 0 or head < next_due) then next_due = head end
end
return { now_us, count, next_due, more, told or {} }
