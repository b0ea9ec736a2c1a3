-- Gives held messages back to their queues. Needs core, header, ready, line, end.

-- `lost`: {worker, how} if whoever ran it died. It counts and is noted, and what has been lost too often is buried; what runs at
-- most once ends as lost. False: it has not started: it goes back as it was, in order, before all others.
-- `delay` > 0 puts it on the delayed set instead (a task that this worker does not know).
-- What somebody has asked to cancel (it stands in `cancels`) ends here instead: a request must not be forgotten.
local GIVE_BACK_MAX = 1000

-- Who had the session, as far as that is known: `info` is the key of what is known of it.
local function worker_of(info)
    local told = redis.call('HGET', info, 'info')
    return told and cjson.decode(told).name or nil
end

local function told_loss(lost)
    if lost.worker and lost.how ~= '' then return ' (the last time: ' .. lost.worker .. ': ' .. lost.how .. ')' end
    return ''
end

-- Notes that a message was lost for the `n`th time in its attempt.
local function note_loss(id, lost, n, now)
    local line = cjson.encode({ at_ms = now, worker = lost.worker, how = lost.how })
    local before = n > 1 and redis.call('HGET', LOSSES, id)
    redis.call('HSET', LOSSES, id, before and before .. ',' .. line or line)
end

-- A part of `ids` that `unpack` has room for: what goes back at once is added to `heads` (queue → priority → ids), or to `turns`
-- (queue and task → ids) where others of its task stand in line: it was before them.
local function give_back_some(ids, heads, turns, cancels, lost, delay, losses_max, now)
    local bodies = redis.call('HMGET', MESSAGES, unpack(ids))
    local any_turns = redis.call('EXISTS', TURNS) == 1
    local asked = redis.call('EXISTS', cancels) == 1 and redis.call('HMGET', cancels, unpack(ids)) or {}
    for i, id in ipairs(ids) do
        local body = bodies[i]
        local h = body and parse(body)
        if body and asked[i] then
            redis.call('HDEL', cancels, id)
            end_here(id, body, 'REVOKED', '', now)
        elseif body and not h then
            end_here(id, body, 'FAILURE', 'not a message of ours', now, nil, { dead = true, worker = lost and lost.worker or nil })
        elseif body then
            local keep = true
            if lost and has(h.flags, FLAG_EARLY) then
                keep_failed({ id })
                end_here(id, body, 'FAILURE', 'the worker died while it ran' .. told_loss(lost)
                    .. '; it was acknowledged early, so it does not run again', now, nil, { attempt = 1, worker = lost.worker })
                keep = false
            elseif lost then
                local tries = redis.call('HGET', TRIES, id) or '1 0'
                local attempt, losses = string.match(tries, '^(%d+) (%d+)$')
                losses = tonumber(losses) + 1
                note_loss(id, lost, losses, now)
                if losses >= losses_max then
                    end_here(id, body, 'FAILURE', 'its worker died ' .. losses .. ' times while it ran' .. told_loss(lost), now, nil,
                        { dead = true, attempt = tonumber(attempt), worker = lost.worker })
                    keep = false
                else
                    redis.call('HSET', TRIES, id, attempt .. ' ' .. losses)
                end
            end
            if keep and delay > 0 then
                redis.call('HSET', MESSAGES, id, without_fire_flag(body))
                redis.call('ZADD', delayed_key(h.queue), now + delay, id)
                wake_for(h.queue, now + delay, now)
                wake_limited(h.queue)
            elseif keep and any_turns and redis.call('SISMEMBER', TURNS, h.queue .. ' ' .. h.task) == 1 then
                local line = turn_key(h.queue, h.task)
                turns[line] = turns[line] or { queue = h.queue }
                table.insert(turns[line], id)
            elseif keep then
                heads[h.queue] = heads[h.queue] or {}
                local levels = heads[h.queue]
                levels[h.priority] = levels[h.priority] or {}
                table.insert(levels[h.priority], id)
            end
        end
    end
end

local function give_back(ids, cancels, lost, delay, losses_max, now)
    if #ids == 0 then return end
    endings()
    local heads, turns = {}, {}
    for from = 1, #ids, GIVE_BACK_MAX do
        local some = { unpack(ids, from, math.min(from + GIVE_BACK_MAX - 1, #ids)) }
        give_back_some(some, heads, turns, cancels, lost, delay, losses_max, now)
    end
    for queue, levels in pairs(heads) do
        for priority, some in pairs(levels) do push_ready(queue, priority, some, true) end
        wake(queue)
    end
    for line, some in pairs(turns) do
        for i = #some, 1, -1 do redis.call('LPUSH', line, some[i]) end
        wake(some.queue)
    end
end
