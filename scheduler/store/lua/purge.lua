-- Ends what waits in a queue, a chunk at a time: ready messages and delayed calls. Armed fires stay: pause their entries.
--
-- KEYS  1–12 core
-- ARGV  1 queue · 2 chunk (at most 500) · 3 where to go on in the delayed set (0 at first)
-- Reply {ended, where to go on or -1 when all is done}

--@include core header ready end

local queue, chunk, from = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now = server_time()
local ended = 0
redis.call('HDEL', SLOTS, '')
for _, key in ipairs(ready_keys(queue)) do
    local ids = redis.call('LPOP', key, chunk)
    for _, id in ipairs(ids or {}) do
        local body = redis.call('HGET', MESSAGES, id)
        if body then
            end_here(id, body, 'REVOKED', 'purged', now)
            ended = ended + 1
        end
    end
    if ids and #ids > 0 then return { ended, from } end
end
local ids = redis.call('ZRANGE', delayed_key(queue), from, from + chunk - 1)
local stay = 0
for _, id in ipairs(ids) do
    local body = redis.call('HGET', MESSAGES, id)
    if body and has(flags_of(body), FLAG_FIRE) then
        stay = stay + 1
    else
        redis.call('ZREM', delayed_key(queue), id)
        if body then
            end_here(id, body, 'REVOKED', 'purged', now)
            ended = ended + 1
        end
    end
end
return { ended, #ids < chunk and -1 or from + stay }
