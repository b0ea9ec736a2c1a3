-- Keeps dead letters no longer.
--
-- Guarantee: each of them is gone with its message and its story, or not there before; nothing else is touched.
--
-- KEYS  1–12 core
-- ARGV  1 the line in the audit log, as JSON, or ""; the calls of one purge share it · 2… ids, at most 500
-- Reply how many there were

--@include core header ready line end note

endings()

local now = server_time()
redis.call('HDEL', DEAD_MESSAGES, '')
local gone = forget_dead({ unpack(ARGV, 2) })
if gone > 0 then note_many(ARGV[1], { purged = gone }, now, 0) end
return gone
