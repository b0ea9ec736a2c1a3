-- Compares what a session believes it holds with what Redis says (after a lost reply, or a lost suffix of writes).
--
-- Guarantee: afterwards both agree. Leased here but unknown to the worker → given back. Held by the worker, but ready or
-- delayed here (Redis lost the take) → adopted again. Anything else the worker believes in is somebody else's, or over.
--
-- KEYS  1–12 core
-- ARGV  1 session · 2… ids that the worker holds, finished but unsent ones included
-- Reply {"LOST"}, or {"OK", counter, adopted, abandoned, released}

--@include core header ready line end session give_back

endings()

local session = ARGV[1]
local counter = renewed(session)
if not counter then return { 'LOST' } end

local now = server_time()
local held = held_key(session)
local known, adopted, abandoned, released = {}, {}, {}, {}
for i = 2, #ARGV do
    local id = ARGV[i]
    known[id] = true
    if redis.call('HEXISTS', held, id) == 0 then
        local body = redis.call('HGET', MESSAGES, id)
        local h = body and parse(body)
        local delayed = h and redis.call('ZREM', delayed_key(h.queue), id) > 0
        if delayed or (h and take_out_of_ready(h, id)) then
            redis.call('HSET', held, id, h.queue .. ' ' .. string.format('%.0f', now))
            adopted[#adopted + 1] = id
            if delayed and has(h.flags, FLAG_FIRE) then
                -- Its promotion was lost too: it happened.
                count_promoted(h.entry, h.due)
                if h.overlap ~= ALLOW then redis.call('HSETNX', SLOTS, h.entry, id) end
            end
        else
            abandoned[#abandoned + 1] = id
        end
    end
end
for _, id in ipairs(redis.call('HKEYS', held)) do
    if not known[id] then released[#released + 1] = id end
end
for _, id in ipairs(released) do redis.call('HDEL', held, id) end
give_back(released, cancels_key(session), false, 0, 1, now)
return { 'OK', counter, adopted, abandoned, released }
