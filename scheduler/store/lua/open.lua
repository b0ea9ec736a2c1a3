-- Opens a session.
--
-- KEYS  1–12 core · 13 info of the session
-- ARGV  1 session · 2… field, value, … of its info
-- Reply counter

--@include core

redis.call('HDEL', SESSIONS, '') -- a first write that needs no memory: a full Redis is emptied by workers that come
redis.call('HSET', KEYS[13], 'seen', string.format('%.0f', (server_time())), unpack(ARGV, 2))
return redis.call('HINCRBY', SESSIONS, ARGV[1], 1)
