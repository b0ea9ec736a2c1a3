-- Cancels a run: ends it where it waits, or asks the session that holds it.
--
-- KEYS  1–12 core
-- ARGV  1 id · 2 "1" to terminate it if it runs already
-- Reply "REVOKED", "REQUESTED" (takes effect at the holder's next renewal), "ENDED", "UNKNOWN"

--@include core header ready end

local id = ARGV[1]
local body = redis.call('HGET', MESSAGES, id)
if not body then return redis.call('EXISTS', PREFIX .. 'r:' .. id) == 1 and 'ENDED' or 'UNKNOWN' end

local now = server_time()
for _, session in ipairs(redis.call('HKEYS', SESSIONS)) do
    if redis.call('HEXISTS', PREFIX .. 's:' .. session .. ':held', id) == 1 then
        redis.call('HSET', PREFIX .. 's:' .. session .. ':cancel', id, ARGV[2])
        return 'REQUESTED'
    end
end
local h = parse(body)
if h then
    redis.call('ZREM', delayed_key(h.queue), id)
    redis.call('LREM', ready_key(h.queue, h.priority), 1, id)
    if redis.call('HGET', WAITING, h.entry) == id then redis.call('HDEL', WAITING, h.entry) end
end
end_here(id, body, 'REVOKED', '', now)
return 'REVOKED'
