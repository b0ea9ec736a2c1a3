-- Ready messages wherever they stand: in the lists of their queue, or in line for their turn. Needs core.lua, ready.lua.

-- Messages whose task has a rate limit, and whose turn has not come, stand in a line for each queue and task, oldest first, whatever
-- their priority. They are ready. TURNS has "queue task" for each line that is not empty, and now and then for one that has just
-- become so.
local TURNS = PREFIX .. 'turns'

local function turn_key(queue, task)
    return PREFIX .. 'turn:' .. queue .. ' ' .. task
end

-- Takes the message `id` out of the ready list that its header `h` names; whether it stood there.
local function take_out_of_ready(h, id)
    if redis.call('LREM', ready_key(h.queue, h.priority), 1, id) > 0 then return true end
    return redis.call('LREM', turn_key(h.queue, h.task), 1, id) > 0
end

-- All lists in which messages of `queue` are ready, and how many there are.
local function all_ready(queue)
    local keys, head, count = ready_keys(queue), queue .. ' ', 0
    for _, member in ipairs(redis.call('SMEMBERS', TURNS)) do
        if string.sub(member, 1, #head) == head then keys[#keys + 1] = PREFIX .. 'turn:' .. member end
    end
    for _, key in ipairs(keys) do count = count + redis.call('LLEN', key) end
    return keys, count
end

-- A run of `queue` has ended, or waits: if there is a limit to how many may run at once, the next one may start.
local function wake_limited(queue)
    if redis.call('HEXISTS', QUEUE_LIMITS, queue) == 1 and select(2, all_ready(queue)) > 0 then wake(queue) end
end
