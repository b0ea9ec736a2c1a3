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

-- Messages whose task has a rate limit, and whose turn has not come, stand in a line for each queue and task, oldest first, whatever
-- their priority. They are ready. TURNS has "queue task" for each line that is not empty, and now and then for one that has just
-- become so.
local TURNS = PREFIX .. 'turns'

local function turn_key(queue, task)
    return PREFIX .. 'q:' .. queue .. ':turn:' .. task
end

-- Takes the message `id` out of the ready list that its header `h` names; whether it stood there.
local function take_out_of_ready(h, id)
    if redis.call('LREM', ready_key(h.queue, h.priority), 1, id) > 0 then return true end
    return redis.call('LREM', turn_key(h.queue, h.task), 1, id) > 0
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

-- … and all lists in which messages of `queue` are ready.
local function all_ready_keys(queue)
    local keys, head = ready_keys(queue), queue .. ' '
    for _, member in ipairs(redis.call('SMEMBERS', TURNS)) do
        if string.sub(member, 1, #head) == head then keys[#keys + 1] = turn_key(queue, string.sub(member, #head + 1)) end
    end
    return keys
end

-- How many messages of `queue` are ready.
local function ready_count(queue)
    local count = 0
    for _, key in ipairs(all_ready_keys(queue)) do count = count + redis.call('LLEN', key) end
    return count
end

-- A run of `queue` has ended, or waits: if there is a limit to how many may run at once, the next one may start.
local function wake_limited(queue)
    if redis.call('HEXISTS', QUEUE_LIMITS, queue) == 1 and ready_count(queue) > 0 then wake(queue) end
end

-- A taker may sleep for a second: tell it of a moment that comes sooner and leads its delayed set.
local function wake_for(queue, at, now)
    if at > now + 1000 then return end
    local head = redis.call('ZRANGE', delayed_key(queue), 0, 0, 'WITHSCORES')
    if head[2] and tonumber(head[2]) >= at then wake(queue) end
end
