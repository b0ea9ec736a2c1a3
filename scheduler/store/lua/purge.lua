-- Ends what waits in a queue, a chunk at a time: ready messages and delayed calls. Armed fires stay: pause their entries.
--
-- KEYS  1–12 core
-- ARGV  1 queue · 2 chunk (at most 500) · 3 where to go on in the delayed set (0 at first) · 4 its line in the audit log, as JSON,
--       or ""; the chunks of one purge share it
-- Reply {ended, where to go on or -1 when all is done}

--@include core header ready line end note

endings()

local queue, chunk, from = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now = server_time()
local ended = 0
redis.call('HDEL', SLOTS, '')

local function noted()
    if ended > 0 then note_many(ARGV[4], { ended = ended }, now, 0) end
    return ended
end

for _, key in ipairs((all_ready(queue))) do
    local ids = redis.call('LPOP', key, chunk)
    for _, id in ipairs(ids or {}) do
        local body = redis.call('HGET', MESSAGES, id)
        if body then
            end_here(id, body, 'REVOKED', 'purged', now)
            ended = ended + 1
        end
    end
    if ids and #ids > 0 then return { noted(), from } end
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
return { noted(), #ids < chunk and -1 or from + stay }
