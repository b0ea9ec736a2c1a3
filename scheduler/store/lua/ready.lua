-- Ready lists and wake tokens. Needs PREFIX, which core.lua has.

local QUEUE_LIMITS = PREFIX .. 'queue_limits' -- see limits.lua

local function ready_key(queue, priority)
    local key = PREFIX .. 'q:' .. queue .. ':ready'
    return priority > 0 and key .. ':' .. priority or key
end

local function delayed_key(queue)
    return PREFIX .. 'q:' .. queue .. ':delayed'
end

-- One token is enough: a taker that leaves work behind pushes the next.
local function wake(queue)
    local key = PREFIX .. 'q:' .. queue .. ':wake'
    if redis.call('LLEN', key) == 0 then redis.call('RPUSH', key, '1') end
end

local PUSH_MAX = 1000 -- `unpack` has room for some 8,000

-- Puts `ids`, however many, on the ready list of `queue`, in order, at its tail or (`at_head`) before all others.
local function push_ready(queue, priority, ids, at_head)
    if #ids == 0 then return end
    if priority > 0 then redis.call('SADD', PREFIX .. 'q:' .. queue .. ':levels', priority) end
    local key, verb, in_order = ready_key(queue, priority), 'RPUSH', ids
    if at_head then
        verb, in_order = 'LPUSH', {}
        for i = #ids, 1, -1 do in_order[#in_order + 1] = ids[i] end
    end
    for from = 1, #ids, PUSH_MAX do
        redis.call(verb, key, unpack(in_order, from, math.min(from + PUSH_MAX - 1, #ids)))
    end
end

-- The ready lists of `queue` that may hold something, the most urgent first.
local function ready_keys(queue)
    local levels = redis.call('SMEMBERS', PREFIX .. 'q:' .. queue .. ':levels')
    if #levels == 0 then return { ready_key(queue, 0) } end
    table.sort(levels, function(a, b) return tonumber(a) > tonumber(b) end)
    local keys = {}
    for _, level in ipairs(levels) do keys[#keys + 1] = ready_key(queue, tonumber(level)) end
    keys[#keys + 1] = ready_key(queue, 0)
    return keys
end

-- A taker may sleep for a second: tell it of a moment that comes sooner and leads its delayed set.
local function wake_for(queue, at, now)
    if at > now + 1000 then return end
    local head = redis.call('ZRANGE', delayed_key(queue), 0, 0, 'WITHSCORES')
    if head[2] and tonumber(head[2]) >= at then wake(queue) end
end
