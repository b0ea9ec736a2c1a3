-- Says that a beat lives.
--
-- KEYS  1 beats
-- ARGV  1 id · 2 what it says of itself, JSON
-- Reply "OK"

redis.call('HDEL', KEYS[1], '') -- a first write that needs no memory: a full Redis must not keep a beat from standing
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 'OK'
