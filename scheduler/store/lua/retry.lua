-- Puts a held message back for another attempt.
--
-- Guarantee: the message is moved only while the session holds it; its overlap slot stays with it (trap 7). One that somebody
-- has asked to cancel ends here instead.
--
-- KEYS  1–12 core
-- ARGV  1 session · 2 id · 3 body · 4 delay in ms · 5 the coming attempt · 6 result record, or "" · 7 its ttl in ms
-- Reply {"LOST"}, {"REFUSED", counter} if it is not held by this session, {"REVOKED", counter}, {"OK", counter}

--@include core header ready line end session

local session, id, attempt = ARGV[1], ARGV[2], ARGV[5]
local body = without_fire_flag(ARGV[3])
local h = parse(body)
if not h then error('retry: the body is not a message of ours') end
local counter = renewed(session)
if not counter then return { 'LOST' } end
if redis.call('HDEL', held_key(session), id) == 0 then return { 'REFUSED', counter } end

local now = server_time()
if redis.call('HDEL', cancels_key(session), id) == 1 then
    endings()
    end_here(id, body, 'REVOKED', '', now)
    return { 'REVOKED', counter }
end
local at = now + tonumber(ARGV[4])
redis.call('HSET', MESSAGES, id, body)
redis.call('HSET', TRIES, id, attempt .. ' 0')
redis.call('HDEL', LOSSES, id)
if ARGV[6] ~= '' then redis.call('SET', PREFIX .. 'r:' .. id, ARGV[6], 'PX', math.max(1, ARGV[7])) end
redis.call('SADD', QUEUES, h.queue) -- it may be another one than before
redis.call('ZADD', delayed_key(h.queue), at, id)
wake_for(h.queue, at, now)
wake_limited(h.queue)
return { 'OK', counter }
