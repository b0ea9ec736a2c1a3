--- renew
-- Renews a session, publishes what its worker says of itself, and hands over cancel requests and orders.
--
-- Guarantee: a request stands until its message leaves the session, whichever way (finish, retry, release, reconcile, reclaim,
-- close take it away with it): so a run that was left alone, and then asks for another attempt, ends there. An order is handed
-- over once; whoever gave it waits for an answer.
--
-- KEYS  1–12 core · 13 cancel requests, 14 info, 15 orders of the session
-- ARGV  1 session · 2 its worker's state, as JSON, or "" where that has not changed
-- Reply {"LOST"}, or {"OK", counter, now in µs, {id, "1" to terminate or "0", …}, {order as JSON, …}}

--@include core session

local counter = renewed(ARGV[1])
if not counter then return { 'LOST' } end
local now, now_us = server_time()
redis.call('HSET', KEYS[14], 'seen', string.format('%.0f', now))
if ARGV[2] ~= '' then redis.call('HSET', KEYS[14], 'state', ARGV[2]) end
local orders = redis.call('LRANGE', KEYS[15], 0, -1)
if #orders > 0 then redis.call('DEL', KEYS[15]) end
return { 'OK', counter, now_us, redis.call('HGETALL', KEYS[13]), orders }
