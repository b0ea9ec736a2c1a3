-- Gives the term up and passes the baton: a follower that waits for it stands at once.
--
-- KEYS  1 term · 2 baton
-- ARGV  1 number, 2 holder
-- Reply "RESIGNED", or "FENCED" if the term is somebody else's already

local term = redis.call('HMGET', KEYS[1], 'number', 'holder')
if term[1] ~= ARGV[1] or term[2] ~= ARGV[2] then return 'FENCED' end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], 'holder', '')
redis.call('RPUSH', KEYS[2], '1')
return 'RESIGNED'
