-- Takes messages under a session's lease. Needs core, header, ready, end, outcome, promote_due, session.

-- A message that was lost before, or that runs at most once, comes alone: it must not take a batch to the grave.
local function comes_alone(flags, tries)
    if has(flags, FLAG_EARLY) then return true end
    return tries and tonumber(string.match(tries, ' (%d+)$')) > 0
end

-- A message that takes its whole worker to the grave is blamed together with whatever runs beside it, and all of them come
-- back to the head of their queues, to meet again in the next worker. Those that were lost twice (suspects) are therefore kept
-- apart: a session holds one of them at a time, whatever else it holds. So the innocent ones lose nothing more by the guilty one.
local SUSPECT_LOSSES = 2
local SUSPECTS_PASSED_MAX = 256 -- so many of them are passed over to find other work behind them

local function is_suspect(tries)
    return tries and tonumber(string.match(tries, ' (%d+)$')) >= SUSPECT_LOSSES
end

local function holds_suspect(session)
    local ids = redis.call('HKEYS', held_key(session))
    for from = 1, #ids, 1000 do
        local some = redis.call('HMGET', TRIES, unpack(ids, from, math.min(from + 999, #ids)))
        for _, tries in ipairs(some) do
            if is_suspect(tries) then return true end
        end
    end
    return false
end

local ENDED_MAX = 500 -- so many expired messages are ended in one call; the rest in the next

-- Redis keeps a small hash as a plain list, in which it looks for each field from the start: with hundreds of messages that
-- would cost more than all the rest. A value beyond 64 bytes makes it a hash table; whoever reads a place passes over blanks.
local HELD_AS_LIST_MAX, BLANKS = 16, string.rep(' ', 64)

-- Puts `ids`, a few hundred at most, back to the head of the list they were popped from, in order.
local function unpop(key, ids)
    local reversed = {}
    for i = #ids, 1, -1 do reversed[#reversed + 1] = ids[i] end
    redis.call('LPUSH', key, unpack(reversed))
end

-- Takes up to `n` messages (and about `bytes_max` bytes) from `queues`, the first queue first, the most urgent first
-- within each. Returns {moment of the next delayed message or -1, more, told, id, body, tries, id, body, tries, …}.
local function take_batch(session, queues, n, bytes_max, now, want_told)
    local told = want_told and {} or nil
    local reply = { -1, 0, {} }
    local held, bytes, alone, ended, has_suspect = {}, 0, false, 0, nil
    local taken_at, any_tries = string.format(' %.0f', now), redis.call('EXISTS', TRIES) == 1
    for _, queue in ipairs(queues) do
        local head = next_due_of(queue)
        if head and head <= now then
            promote_due(queue, now, math.max(64, n), told)
            head = next_due_of(queue)
        end
        if head and (reply[1] < 0 or head < reply[1]) then reply[1] = head end
        local left_behind, place = false, queue .. taken_at
        for _, key in ipairs(ready_keys(queue)) do
            local passed = {}
            while n > 0 and bytes < bytes_max and not alone and ended < ENDED_MAX and #passed < SUSPECTS_PASSED_MAX do
                local ids = redis.call('LPOP', key, math.min(n, CHUNK))
                if not ids or #ids == 0 then break end
                local bodies = redis.call('HMGET', MESSAGES, unpack(ids))
                local tries = any_tries and redis.call('HMGET', TRIES, unpack(ids)) or {}
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
                            local flags = flags_of(body)
                            local single, suspect = comes_alone(flags, tries[i]), is_suspect(tries[i])
                            if suspect and has_suspect == nil then has_suspect = holds_suspect(session) end
                            if suspect and has_suspect then
                                passed[#passed + 1] = id
                            elseif single and #held > 0 then
                                back[#back + 1] = id
                            else
                                alone = single
                                held[#held + 1] = id
                                held[#held + 1] = place
                                reply[#reply + 1] = id
                                reply[#reply + 1] = body
                                reply[#reply + 1] = tries[i] or ''
                                bytes = bytes + #body
                                n = n - 1
                                -- Told once, however often it is tried.
                                if flags >= FLAG_PING and is_pinged(flags) and not tries[i] then
                                    ping(parse(body).entry, 'start', id, nil, now)
                                end
                            end
                        end
                    end
                end
                if #back > 0 then
                    unpop(key, back)
                    n = 0
                end
            end
            -- Suspects that this session may not have now are no reason to come again at once.
            if not left_behind and #passed < SUSPECTS_PASSED_MAX and redis.call('EXISTS', key) == 1 then left_behind = true end
            if #passed > 0 then unpop(key, passed) end
        end
        if left_behind then
            reply[2] = 1
            wake(queue)
        end
    end
    if #held > 2 * HELD_AS_LIST_MAX then held[2] = held[2] .. BLANKS end
    if #held > 0 then redis.call('HSET', held_key(session), unpack(held)) end
    if told then reply[3] = told end
    return reply
end
