--- answer
-- Writes what a worker has done about an order, for as long as somebody may wait for it.
--
-- KEYS  1 answers to the order
-- ARGV  1 session · 2 answer, as JSON · 3 lifetime in ms
-- Reply 1

redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return redis.call('PEXPIRE', KEYS[1], ARGV[3])
