-- The limits of queues: how many messages may wait, and how many may run at once. Needs core.lua, header.lua, ready.lua, line.lua, end.lua.
-- {ns}:queue_limits has a field for each queue with a limit: "max_length overflow concurrency", "-" for none.

-- The limits of `queue`: how many messages may wait, "refuse" or "drop_oldest", how many may run at once; nil for what it has not.
local function limits_of(queue)
    local text = redis.call('HGET', QUEUE_LIMITS, queue)
    if not text then return nil end
    local length, overflow, concurrency = string.match(text, '^(%S+) (%S+) (%S+)')
    return tonumber(length), overflow, tonumber(concurrency)
end

-- Ends the oldest of the least urgent ready messages of `queue`, at most `n`.
local function drop_oldest(queue, n, length_max, now)
    local keys = all_ready(queue)
    local error = 'dropped: queue ' .. queue .. ' was full (max_length ' .. length_max .. '), and newer messages came'
    for i = #keys, 1, -1 do
        while n > 0 do
            local id = redis.call('LPOP', keys[i])
            if not id then break end
            local body = redis.call('HGET', MESSAGES, id)
            if body then end_here(id, body, 'REVOKED', error, now) end
            n = n - 1
        end
    end
end
