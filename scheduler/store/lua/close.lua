-- Closes a session: what it still holds has not started, and goes back.
--
-- KEYS  1–12 core · 13 info, 14 held, 15 cancel requests, 16 orders of the session
-- ARGV  1 session
-- Reply {"LOST"} or {"OK", how many went back}

--@include core header ready line end session give_back

if not renewed(ARGV[1]) then return { 'LOST' } end
local now = server_time()
local ids = redis.call('HKEYS', KEYS[14])
redis.call('DEL', KEYS[13], KEYS[14])
redis.call('HDEL', SESSIONS, ARGV[1])
give_back(ids, KEYS[15], false, 0, 1, now)
redis.call('DEL', KEYS[15], KEYS[16])
return { 'OK', #ids }
