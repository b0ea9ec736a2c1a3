-- Renews a session and hands over the cancel requests for what it holds.
--
-- KEYS  1–12 core · 13 cancel requests of the session
-- ARGV  1 session · 2… ids whose request has been dealt with
-- Reply {"LOST"}, or {"OK", counter, now in µs, {id, "1" to terminate or "0", …}}

--@include core session

local counter = renewed(ARGV[1])
if not counter then return { 'LOST' } end
if #ARGV > 1 then redis.call('HDEL', KEYS[13], unpack(ARGV, 2)) end
local _, now_us = server_time()
return { 'OK', counter, now_us, redis.call('HGETALL', KEYS[13]) }
