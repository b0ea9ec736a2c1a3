-- Gives held messages back to their queues. Needs core, header, ready, end.

-- `lost`: whoever ran it died. It counts, and what has been lost too often is buried; what runs at most once ends as lost.
-- Otherwise it has not started: it goes back as it was, in order, before all others.
-- `delay` > 0 puts it on the delayed set instead (a task that this worker does not know).
local function give_back(ids, lost, delay, losses_max, now)
    local heads = {} -- queue → priority → ids
    local bodies = redis.call('HMGET', MESSAGES, unpack(ids))
    for i, id in ipairs(ids) do
        local body = bodies[i]
        local h = body and parse(body)
        if body and not h then
            bury(id, body, now)
            end_here(id, body, 'FAILURE', 'not a message of ours', now)
        elseif body then
            local keep = true
            if lost and has(h.flags, FLAG_EARLY) then
                keep_failed({ id })
                end_here(id, body, 'FAILURE', 'the worker died while it ran; it was acknowledged early, so it does not run again', now)
                keep = false
            elseif lost then
                local tries = redis.call('HGET', TRIES, id) or '1 0'
                local attempt, losses = string.match(tries, '^(%d+) (%d+)$')
                losses = tonumber(losses) + 1
                if losses >= losses_max then
                    bury(id, body, now)
                    end_here(id, body, 'FAILURE', 'its worker died ' .. losses .. ' times while it ran', now)
                    keep = false
                else
                    redis.call('HSET', TRIES, id, attempt .. ' ' .. losses)
                end
            end
            if keep and delay > 0 then
                redis.call('HSET', MESSAGES, id, without_fire_flag(body))
                redis.call('ZADD', delayed_key(h.queue), now + delay, id)
                wake_for(h.queue, now + delay, now)
            elseif keep then
                heads[h.queue] = heads[h.queue] or {}
                local levels = heads[h.queue]
                levels[h.priority] = levels[h.priority] or {}
                table.insert(levels[h.priority], id)
            end
        end
    end
    for queue, levels in pairs(heads) do
        for priority, some in pairs(levels) do push_ready(queue, priority, some, true) end
        wake(queue)
    end
end
