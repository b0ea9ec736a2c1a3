-- Takes messages under a session's lease. Needs core, header, ready, line, end, limits, outcome, promote_due, session.

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

-- How to take, as it stands in ARGV from `at` on (see `Session`): "fair" or "strict" · with which priority to begin, 0 for the most
-- urgent · how many tasks have a rate limit · for each its name, how many µs lie between two starts, and by how many one may come
-- early. Returns that, and where it ends.
local function read_way(at)
    local n, rates = tonumber(ARGV[at + 2]), nil
    if n > 0 then
        rates = {}
        for i = at + 3, at + 2 + 3 * n, 3 do rates[ARGV[i]] = { interval = tonumber(ARGV[i + 1]), early = tonumber(ARGV[i + 2]) } end
    end
    return { fair = ARGV[at] == 'fair', begin = tonumber(ARGV[at + 1]), rates = rates }, at + 3 + 3 * n
end

local PARKED_MAX, EXPIRED_MAX = 500, 100 -- so many are put in line, and end in each line, in one call; the rest in the next

-- What keeps the limits while messages are taken, made only where there are any. `rates` as in `read_way`, or nil.
--
-- A rate limit is kept here, where messages are taken: {ns}:rate:TASK is the moment in µs at which the next one would start if all
-- were evenly spaced (GCRA); one may come a little early, so that short tasks still come in batches. One whose turn has not come goes
-- to the end of its line, and is looked at again when its turn has come.
local function limiter(rates, now_us)
    endings()
    local lines, rooms, tats = {}, {}, {} -- lines: queue → tasks of which some wait for their turn
    local limits = { lines = lines, parked = 0 }
    for _, member in ipairs(redis.call('SMEMBERS', TURNS)) do
        local queue, task = string.match(member, '^(%S+) (.*)$')
        lines[queue] = lines[queue] or {}
        lines[queue][task] = true
    end

    -- How many runs of `task` may start now.
    function limits.turns_left(task)
        local rate = rates and rates[task]
        if not rate then return math.huge end
        if not tats[task] then
            local tat = tonumber(redis.call('GET', PREFIX .. 'rate:' .. task) or 0)
            -- None is further ahead: either Redis' clock has stepped back, or the limit was lower.
            if tat > now_us + rate.early + rate.interval then tat = now_us end
            tats[task] = { at = math.max(tat, now_us) }
        end
        return math.max(0, math.floor((now_us + rate.early - tats[task].at) / rate.interval) + 1)
    end

    -- A run of `task` starts.
    function limits.charge(task)
        if not (rates and rates[task]) then return end
        limits.turns_left(task)
        local tat = tats[task]
        tat.at, tat.changed = tat.at + rates[task].interval, true
    end

    -- Whether `id`, of `task`, had to be put in line; else it may start.
    function limits.has_to_wait(queue, task, id)
        if not (rates and rates[task]) then return false end
        local line = lines[queue] and lines[queue][task]
        if not line and limits.turns_left(task) > 0 then return false end
        redis.call('RPUSH', turn_key(queue, task), id)
        if not line then
            redis.call('SADD', TURNS, queue .. ' ' .. task)
            lines[queue] = lines[queue] or {}
            lines[queue][task] = true
            wake(queue) -- whoever else sleeps has to know when the next turn comes
        end
        limits.parked = limits.parked + 1
        return true
    end

    -- Ends those at the head of the line of `task` that have expired: they need not wait for a turn that they will not use.
    function limits.end_expired(queue, task, now)
        local key = turn_key(queue, task)
        for _ = 1, EXPIRED_MAX do
            local id = redis.call('LINDEX', key, 0)
            local body = id and redis.call('HGET', MESSAGES, id)
            local expires = body and expires_of(body) or 0
            if not id or (body and (expires == 0 or expires > now)) then return end
            redis.call('LPOP', key)
            if body then end_here(id, body, 'EXPIRED', '', now) end
        end
    end

    -- The line of `task` in `queue` is known no longer if it is empty.
    function limits.tidy(queue, task)
        if redis.call('EXISTS', turn_key(queue, task)) == 1 then return end
        redis.call('SREM', TURNS, queue .. ' ' .. task)
        lines[queue][task] = nil
    end

    -- When the next one of those that wait in `queue` may start, in ms; nil if nobody waits.
    function limits.next_turn(queue)
        local next_us
        for task in pairs(lines[queue] or {}) do
            if limits.turns_left(task) == 0 then
                local turn = tats[task].at - rates[task].early
                if not next_us or turn < next_us then next_us = turn end
            end
        end
        return next_us and math.ceil(next_us / 1000)
    end

    -- How many messages of `queue` all sessions hold, those included that are dead and not yet emptied.
    local function held_of(queue)
        local count, prefix = 0, queue .. ' '
        local sessions = redis.call('HKEYS', SESSIONS)
        for _, session in ipairs(redis.call('SMEMBERS', PREFIX .. 'dead_sessions')) do sessions[#sessions + 1] = session end
        for _, session in ipairs(sessions) do
            for _, place in ipairs(redis.call('HVALS', PREFIX .. 's:' .. session .. ':held')) do
                if string.sub(place, 1, #prefix) == prefix then count = count + 1 end
            end
        end
        return count
    end

    -- How many more may run of a queue with a limit to that; nil where there is none.
    function limits.room_of(queue)
        if rooms[queue] == nil then
            local _, _, concurrency = limits_of(queue)
            local any = concurrency and select(2, all_ready(queue)) > 0
            rooms[queue] = any and math.max(0, concurrency - held_of(queue)) or false
        end
        return rooms[queue] or nil
    end

    function limits.took(queue, count)
        rooms[queue] = rooms[queue] - count
        return rooms[queue]
    end

    -- Keeps what has changed.
    function limits.keep()
        for task, tat in pairs(tats) do
            if tat.changed then
                local ttl = string.format('%.0f', math.ceil((tat.at - now_us) / 1000) + 1000)
                redis.call('SET', PREFIX .. 'rate:' .. task, string.format('%.0f', tat.at), 'PX', ttl)
            end
        end
    end

    return limits
end

-- Takes up to `n` messages (and about `bytes_max` bytes) from `queues`, the most urgent first within each. "fair": each queue gives
-- its share, and what is left over goes to those that have more; "strict": the first queue first.
--
-- Returns {moment of the next delayed message or turn, or -1, more, told, place of the last queue that gave any, or 0, id, body, tries, …}.
local function take_batch(session, queues, n, bytes_max, now, now_us, want_told, way)
    local told = want_told and {} or nil
    local reply = { -1, 0, {}, 0 }
    local held, bytes, alone, ended, has_suspect, full = {}, 0, false, 0, nil, false
    local taken_at, any_tries = string.format(' %.0f', now), redis.call('EXISTS', TRIES) == 1
    local rates = way.rates
    local limits = (rates or redis.call('EXISTS', QUEUE_LIMITS, TURNS) > 0) and limiter(rates, now_us)

    -- Takes up to `quota` messages from the list `key` of `queue`; `line`: the task whose line it is. Returns how many, and whether
    -- more are there.
    local function take_list(key, queue, place, quota, line)
        local passed, count = {}, 0
        while count < quota and not full and bytes < bytes_max and not alone and ended < ENDED_MAX
            and #passed < SUSPECTS_PASSED_MAX and not (limits and limits.parked >= PARKED_MAX) do
            local ids = redis.call('LPOP', key, math.min(quota - count, CHUNK))
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
                        endings()
                        end_here(id, body, 'EXPIRED', '', now)
                        ended = ended + 1
                    else
                        local flags, task = flags_of(body), rates and (line or task_of(body))
                        local single, suspect = comes_alone(flags, tries[i]), is_suspect(tries[i])
                        if suspect and has_suspect == nil then has_suspect = holds_suspect(session) end
                        if suspect and has_suspect then
                            passed[#passed + 1] = id
                        elseif single and #held > 0 then
                            back[#back + 1] = id
                        elseif not rates or line or not limits.has_to_wait(queue, task, id) then
                            if rates then limits.charge(task) end
                            alone = single
                            held[#held + 1] = id
                            held[#held + 1] = place
                            reply[#reply + 1] = id
                            reply[#reply + 1] = body
                            reply[#reply + 1] = tries[i] or ''
                            bytes = bytes + #body
                            count = count + 1
                            -- Told once, however often it is tried.
                            if flags >= FLAG_PING and is_pinged(flags) and not tries[i] then
                                endings()
                                local h = parse(body)
                                if h then ping(h.entry, 'start', id, nil, now) end
                            end
                        end
                    end
                end
            end
            if #back > 0 then
                unpop(key, back)
                full = true
            end
        end
        -- Suspects that this session may not have now are no reason to come again at once.
        local more = #passed < SUSPECTS_PASSED_MAX and redis.call('EXISTS', key) == 1
        if #passed > 0 then unpop(key, passed) end
        return count, more
    end

    -- Takes up to `quota` messages of `queue`. Returns how many, and whether more could be taken.
    local function take_queue(queue, quota)
        local count, left_behind, place, room = 0, false, queue .. taken_at, limits and limits.room_of(queue)
        if room then quota = math.min(quota, room) end
        for task in pairs(limits and limits.lines[queue] or {}) do
            local key = turn_key(queue, task)
            limits.end_expired(queue, task, now)
            local got, more = take_list(key, queue, place, math.min(quota - count, limits.turns_left(task)), task)
            count, left_behind = count + got, left_behind or (more and limits.turns_left(task) > 0)
            limits.tidy(queue, task)
        end
        local keys = ready_keys(queue)
        -- Now and then one of the others goes first, each in its turn, from the least urgent on.
        if way.begin > 0 and #keys > 1 then table.insert(keys, 1, table.remove(keys, #keys - (way.begin - 1) % #keys)) end
        for _, key in ipairs(keys) do
            local got, more = take_list(key, queue, place, quota - count, nil)
            count, left_behind = count + got, left_behind or more
        end
        if room and limits.took(queue, count) <= 0 then left_behind = false end -- whoever ends one of them wakes the next
        return count, left_behind
    end

    local shares, left = way.fair and #queues > 1, {}
    for i, queue in ipairs(queues) do
        local head = next_due_of(queue)
        if head and head <= now then
            promote_due(queue, now, math.max(64, n), told)
            head = next_due_of(queue)
        end
        if head and (reply[1] < 0 or head < reply[1]) then reply[1] = head end
        local count
        count, left[i] = take_queue(queue, shares and math.ceil(n / (#queues - i + 1)) or n)
        n = n - count
        if count > 0 then reply[4] = i end
    end
    for i, queue in ipairs(queues) do
        if left[i] and shares and n > 0 and not full then
            local count
            count, left[i] = take_queue(queue, n)
            n = n - count
        end
        if left[i] then
            reply[2] = 1
            wake(queue)
        end
        local turn = limits and limits.next_turn(queue)
        if turn and (reply[1] < 0 or turn < reply[1]) then reply[1] = turn end
    end
    if limits then limits.keep() end
    if #held > 2 * HELD_AS_LIST_MAX then held[2] = held[2] .. BLANKS end
    if #held > 0 then redis.call('HSET', held_key(session), unpack(held)) end
    if told then reply[3] = told end
    return reply
end
