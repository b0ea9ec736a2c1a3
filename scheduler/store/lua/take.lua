-- Takes a batch of messages for a session, promoting first what is due.
--
-- Guarantee: a message that is returned stands under this session's lease and in no list (P5); none that has expired is
-- returned (P8).
--
-- KEYS  1–12 core
-- ARGV  1 session · 2 how many (at most 1,000) · 3 bytes at most, about · 4 "1" to be told of each fire
--       5… how to take, see `read_way` in take_batch.lua; then the queues
-- Reply {"LOST"}, or {"OK", counter, now in µs, what `take_batch` returns}

--@include core header ready line end limits outcome promote_due session take_batch

local counter = renewed(ARGV[1])
if not counter then return { 'LOST' } end

local now, now_us = server_time()
local way, first = read_way(5)
local queues = {}
for i = first, #ARGV do queues[#queues + 1] = ARGV[i] end
return { 'OK', counter, now_us,
    take_batch(ARGV[1], queues, tonumber(ARGV[2]), tonumber(ARGV[3]), now, now_us, ARGV[4] == '1', way) }
