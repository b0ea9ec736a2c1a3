-- Takes messages under a session's lease. Needs core, header, ready, end, outcome, promote_due, session.

-- A message that was lost before, or that runs at most once, comes alone: it must not take a batch to the grave.
local function comes_alone(body, tries)
    if has(flags_of(body), FLAG_EARLY) then return true end
    return tries and tonumber(string.match(tries, ' (%d+)$')) > 0
end

local ENDED_MAX = 500 -- so many expired messages are ended in one call; the rest in the next

-- Takes up to `n` messages (and about `bytes_max` bytes) from `queues`, the first queue first, the most urgent first
-- within each. Returns {moment of the next delayed message or -1, more, told, id, body, tries, id, body, tries, …}.
local function take_batch(session, queues, n, bytes_max, now, want_told)
    local told = want_told and {} or nil
    local reply = { -1, 0, {} }
    local held, bytes, alone, ended = {}, 0, false, 0
    for _, queue in ipairs(queues) do
        local head = next_due_of(queue)
        if head and head <= now then
            promote_due(queue, now, math.max(64, n), told)
            head = next_due_of(queue)
        end
        if head and (reply[1] < 0 or head < reply[1]) then reply[1] = head end
        local left_behind = false
        for _, key in ipairs(ready_keys(queue)) do
            while n > 0 and bytes < bytes_max and not alone and ended < ENDED_MAX do
                local ids = redis.call('LPOP', key, math.min(n, CHUNK))
                if not ids or #ids == 0 then break end
                local bodies = redis.call('HMGET', MESSAGES, unpack(ids))
                local tries = redis.call('HMGET', TRIES, unpack(ids))
                local back = {}
                for i, id in ipairs(ids) do
                    local body = bodies[i]
                    if #back > 0 or alone or bytes >= bytes_max then
                        back[#back + 1] = id
                    elseif body then
                        local expires = expires_of(body)
                        if expires > 0 and expires <= now then
                            end_here(id, body, 'EXPIRED', '', now)
                            ended = ended + 1
                        else
                            local single = comes_alone(body, tries[i])
                            if single and #held > 0 then
                                back[#back + 1] = id
                            else
                                alone = single
                                held[#held + 1] = id
                                held[#held + 1] = queue .. ' ' .. string.format('%.0f', now)
                                reply[#reply + 1] = id
                                reply[#reply + 1] = body
                                reply[#reply + 1] = tries[i] or ''
                                bytes = bytes + #body
                                n = n - 1
                            end
                        end
                    end
                end
                if #back > 0 then
                    local reversed = {}
                    for i = #back, 1, -1 do reversed[#reversed + 1] = back[i] end
                    redis.call('LPUSH', key, unpack(reversed))
                    n = 0
                end
            end
            if not left_behind and redis.call('EXISTS', key) == 1 then left_behind = true end
        end
        if left_behind then
            reply[2] = 1
            wake(queue)
        end
    end
    if #held > 0 then redis.call('HSET', held_key(session), unpack(held)) end
    if told then reply[3] = told end
    return reply
end
