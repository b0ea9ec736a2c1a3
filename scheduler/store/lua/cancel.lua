-- Cancels a run: ends it where it waits, or asks the session that holds it.
--
-- KEYS  1–12 core
-- ARGV  1 id · 2 "1" to terminate it if it runs already
-- Reply "REVOKED", "REQUESTED" (takes effect at the holder's next renewal), "ENDED", "UNKNOWN"

--@include core header ready end outcome

local id = ARGV[1]
local body = redis.call('HGET', MESSAGES, id)
if not body then return redis.call('EXISTS', PREFIX .. 'r:' .. id) == 1 and 'ENDED' or 'UNKNOWN' end

redis.call('HDEL', SLOTS, '') -- a first write that needs no memory
local now = server_time()
for _, session in ipairs(redis.call('HKEYS', SESSIONS)) do
    if redis.call('HEXISTS', PREFIX .. 's:' .. session .. ':held', id) == 1 then
        redis.call('HSET', PREFIX .. 's:' .. session .. ':cancel', id, ARGV[2])
        return 'REQUESTED'
    end
end
local h = parse(body)
local unpromoted
if h then
    local waits = redis.call('ZREM', delayed_key(h.queue), id) == 1
    if redis.call('HGET', WAITING, h.entry) == id then
        redis.call('HDEL', WAITING, h.entry)
        waits = true
    end
    redis.call('LREM', ready_key(h.queue, h.priority), 1, id)
    if waits and has(h.flags, FLAG_FIRE) then
        unpromoted = 'withdrawn'
        count_outcome(h.entry, unpromoted, 1)
    end
end
end_here(id, body, 'REVOKED', '', now, unpromoted)
return 'REVOKED'
