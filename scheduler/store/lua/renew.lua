-- Renews a session and hands over the cancel requests for what it holds.
--
-- Guarantee: a request stands until its message leaves the session, whichever way (finish, retry, release, reconcile, reclaim,
-- close take it away with it): so a run that was left alone, and then asks for another attempt, ends there.
--
-- KEYS  1–12 core · 13 cancel requests of the session
-- ARGV  1 session
-- Reply {"LOST"}, or {"OK", counter, now in µs, {id, "1" to terminate or "0", …}}

--@include core session

local counter = renewed(ARGV[1])
if not counter then return { 'LOST' } end
local _, now_us = server_time()
return { 'OK', counter, now_us, redis.call('HGETALL', KEYS[13]) }
