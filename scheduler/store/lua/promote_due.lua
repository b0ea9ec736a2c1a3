-- Moves what is due from a delayed set to its ready list, and settles each fire's outcome in one place. In a queue with a bound,
-- that keeps fires out (queue_full), or drops the oldest that wait there; all else was accepted when it was asked for, and fits.
-- Needs core.lua, header.lua, ready.lua, line.lua, end.lua, limits.lua, outcome.lua.

local CHUNK = 64

-- What promotion consists of, made when it is first needed: most takes find nothing due, and to make all these functions costs more
-- than to look.
local function promotion()
    endings()
    -- Whether the run that holds the slot of `entry` still lives, which it is, and whether a backfill asked for it. One whose body is
    -- gone is believed to be over; one that waits in ready and has expired will never start, so it is ended here.
    local function slot_taken(entry, id, now)
        local holder = redis.call('HGET', SLOTS, entry)
        if not holder or holder == id then return false end
        local body = redis.call('HGET', MESSAGES, holder)
        if not body then return false end
        if ends_expired(holder, body, now) then
            return slot_taken(entry, id, now) -- its end may have given the slot to one that waited
        end
        return true, holder, has(flags_of(body), FLAG_BACKFILL)
    end

    local function drop(id, h, reason, now, told, holder, note)
        redis.call('HDEL', MESSAGES, id)
        record_skip(h.entry, h.task, reason, h.due, h.due, 1, id, now,
            { next = h.next_due > 0 and h.next_due or nil, holder = holder, note = note })
        if told then told[#told + 1] = { 'skipped', h.entry, h.due, reason, id, h.queue } end
    end

    -- Makes `holder` give way to `id`: the session that runs it is asked to end it; while it waits, it ends here. True if it has ended,
    -- and `id` has the slot.
    local function replace(holder, id, now)
        for _, session in ipairs(redis.call('HKEYS', SESSIONS)) do
            if redis.call('HEXISTS', PREFIX .. 's:' .. session .. ':held', holder) == 1 then
                redis.call('HSET', PREFIX .. 's:' .. session .. ':cancel', holder, '1')
                return false
            end
        end
        local body = redis.call('HGET', MESSAGES, holder)
        local h = parse(body)
        if not h then return false end
        -- One that is due just now is left alone: `promote_due` counts on the head of its set.
        local moment = redis.call('ZSCORE', delayed_key(h.queue), holder)
        local waits = moment and tonumber(moment) > now and redis.call('ZREM', delayed_key(h.queue), holder) > 0
            or take_out_of_ready(h, holder)
        if waits then
            redis.call('HSET', SLOTS, h.entry, id) -- first: the end of one that has the slot would give it to the line
            end_here(holder, body, 'REVOKED', 'replaced by a newer run', now)
        end
        return waits
    end

    -- The order to skip the fire of `entry` at `due` is carried out, and forgotten. Returns who gave it, and why.
    local function carry_out_skip(entry, due)
        local key = PREFIX .. 'skipped'
        local orders = redis.call('HGET', key, entry)
        if not orders then return nil end
        local note, left = nil, {}
        for _, order in ipairs(cjson.decode(orders)) do
            if order[1] == due then
                note = 'skipped by ' .. (order[3] ~= '' and order[3] or 'hand') .. (order[4] ~= '' and ': ' .. order[4] or '')
            else
                left[#left + 1] = order
            end
        end
        if #left > 0 then redis.call('HSET', key, entry, cjson.encode(left)) else redis.call('HDEL', key, entry) end
        return note
    end

    -- Decides what becomes of the message `id` whose moment `at` has come: true if it is to be put on its ready list. `is_full`: its queue
    -- takes no more fires.
    local function settle(id, h, at, now, told, is_full)
        local fire = has(h.flags, FLAG_FIRE)
        if fire and h.expires == EXPIRES_SKIPPED then
            drop(id, h, 'withdrawn', now, told, nil, carry_out_skip(h.entry, h.due))
            return false
        end
        if fire and now - at > h.late_limit then
            -- Missed. Under `latest` the newest stands for all: one with a newer due time behind it gives way.
            local give_up = h.catchup == CATCHUP_NONE
                or (h.catchup == CATCHUP_LATEST and h.next_due > 0 and h.next_due <= now)
                or (h.catchup == CATCHUP_ALL and now - at > h.window_s * 1000)
            if give_up then
                drop(id, h, 'missed', now, told)
                return false
            end
        end
        if h.expires > 0 and h.expires <= now then
            if fire then count_outcome(h.entry, 'expired', 1) end
            end_here(id, h.body, 'EXPIRED', '', now, fire and 'expired') -- a retry was promoted long ago
            if told and fire then told[#told + 1] = { 'skipped', h.entry, h.due, 'expired', id, h.queue } end
            return false
        end
        if h.entry == '' then return true end
        if fire and is_used_up(h) then
            drop(id, h, 'max_runs', now, told)
            return false
        end
        if fire and is_full then
            drop(id, h, 'queue_full', now, told)
            return false
        end
        local taken, holder, by_backfill = false, nil, false
        if h.overlap ~= ALLOW then taken, holder, by_backfill = slot_taken(h.entry, id, now) end
        if fire and h.unique then
            -- Where the run that has the slot has the key too, the overlap policy decides.
            local by = unique_holder(h.unique, id, now)
            if by and not (taken and by == holder) then
                drop(id, h, 'unique', now, told, by)
                return false
            end
        end
        if h.overlap ~= ALLOW then
            -- A backfill keeps no fire from running: that waits until the run which has the slot has ended, and goes before the line.
            if taken and h.overlap == SKIP and not (fire and by_backfill) then
                if fire then drop(id, h, 'overlap', now, told, holder) else end_here(id, h.body, 'REVOKED', 'overlap', now) end
                return false
            end
            if taken and has(h.flags, FLAG_BACKFILL) then
                stand_in_line(h.entry, h.due, id)
                return false
            end
            if taken then
                -- `queue` and `replace` keep the newest waiting; the slot passes to it when the holder has ended.
                local older = redis.call('HGET', WAITING, h.entry)
                local older_body = older and redis.call('HGET', MESSAGES, older)
                if older_body then drop(older, parse(older_body), 'overlap', now, told, holder, 'a newer one took its place') end
                redis.call('HDEL', WAITING, h.entry)
                if h.overlap ~= REPLACE or by_backfill or not holder or not replace(holder, id, now) then
                    redis.call('HSET', WAITING, h.entry, id)
                    return false
                end
            end
            redis.call('HSET', SLOTS, h.entry, id)
        end
        if fire then
            if h.unique then take_unique(h.unique, id, now, now) end
            count_promoted(h.entry, h.due)
            if told then told[#told + 1] = { 'promoted', h.entry, h.due, now - h.due, id, h.queue } end
        end
        return true
    end

    -- What a chunk of plain promotions shares: read in two calls and written in two, as a burst has thousands of them.
    -- `flush` before anything else looks at slots or counts.
    local slots, counts, new_slots, new_counts

    local function forget()
        slots, counts, new_slots, new_counts = {}, {}, {}, {}
    end

    local function flush()
        local args = {}
        for entry, id in pairs(new_slots) do
            args[#args + 1] = entry
            args[#args + 1] = id
        end
        if #args > 0 then redis.call('HSET', SLOTS, unpack(args)) end
        args = {}
        for entry, value in pairs(new_counts) do
            args[#args + 1] = entry
            args[#args + 1] = value
        end
        if #args > 0 then redis.call('HSET', PROMOTED, unpack(args)) end
        forget()
    end

    -- Reads slots and counts of the fires among `bodies`.
    local function read_ahead(bodies)
        forget()
        local entries, seen = {}, {}
        for _, body in ipairs(bodies) do
            if body and has(flags_of(body), FLAG_FIRE) then
                local entry = string.sub(body, 61, 60 + struct.unpack('<I2', body, 55))
                if not seen[entry] then
                    seen[entry] = true
                    entries[#entries + 1] = entry
                end
            end
        end
        if #entries == 0 then return end
        local holders = redis.call('HMGET', SLOTS, unpack(entries))
        local promoted = redis.call('HMGET', PROMOTED, unpack(entries))
        for i, entry in ipairs(entries) do
            slots[entry], counts[entry] = holders[i], promoted[i] or '0 0'
        end
    end

    -- The usual case, decided from what was read ahead: a punctual fire whose slot is free. False: look closely.
    local function settle_plainly(id, body, at, now, told)
        local _, _, flags, overlap, _, codec = string.byte(body, 1, 6)
        if not has(flags, FLAG_FIRE) or has(codec, UNIQUE) then return false end
        local late_limit, max_runs, entry_n = struct.unpack('<I4xxxxI4I2', body, 43)
        local due, _, expires = struct.unpack('<ddd', body, 7)
        if not is_moment(due) or now - at > late_limit or (expires > 0 and expires <= now) or max_runs > 0 then return false end
        local entry = string.sub(body, 61, 60 + entry_n)
        local count = counts[entry]
        if not count or (overlap ~= ALLOW and slots[entry]) then return false end
        local gap = string.find(count, ' ', 1, true)
        count = string.format('%.0f %d', math.max(due, tonumber(string.sub(count, 1, gap - 1))), string.sub(count, gap + 1) + 1)
        counts[entry], new_counts[entry] = count, count
        if overlap ~= ALLOW then slots[entry], new_slots[entry] = id, id end
        if told then told[#told + 1] = { 'promoted', entry, due, now - due, id, parse(body).queue } end
        return true
    end

    -- Promotes up to `limit` messages of `queue`. Returns how many left the delayed set. `told` collects events, if wanted.
    local function promote_due(queue, now, limit, told)
        local delayed = delayed_key(queue)
        local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit)
        if #due == 0 then return 0 end
        local ready, any, fires = {}, false, 0
        local length_max, overflow = limits_of(queue)
        local room = length_max and overflow == 'refuse' and length_max - select(2, all_ready(queue))
        for from = 1, #due, 2 * CHUNK do
            local ids = {}
            for i = from, math.min(from + 2 * CHUNK - 2, #due), 2 do ids[#ids + 1] = due[i] end
            local bodies = redis.call('HMGET', MESSAGES, unpack(ids))
            read_ahead(bodies)
            for i, id in ipairs(ids) do
                local body = bodies[i]
                if body then
                    local at = tonumber(due[from + 2 * i - 1])
                    local is_full = room and room <= 0
                    local go = not readable(body) or (not is_full and settle_plainly(id, body, at, now, told))
                    if not go then
                        flush()
                        local h = parse(body)
                        if h then h.body = body end
                        go = not h or settle(id, h, at, now, told, is_full) -- what is not ours goes to a worker, which records it
                    end
                    if go then
                        local priority = priority_of(body)
                        any = true
                        if room then room = room - 1 end
                        if length_max and has(flags_of(body), FLAG_FIRE) then fires = fires + 1 end
                        ready[priority] = ready[priority] or {}
                        table.insert(ready[priority], id)
                    end
                end
            end
            flush()
        end
        -- What was read is the head of the set, and nothing here adds to it.
        redis.call('ZREMRANGEBYRANK', delayed, 0, #due / 2 - 1)
        for priority, ids in pairs(ready) do push_ready(queue, priority, ids, false) end
        if fires > 0 and overflow == 'drop_oldest' then
            drop_oldest(queue, math.min(fires, select(2, all_ready(queue)) - length_max), length_max, now)
        end
        if any then wake(queue) end
        return #due / 2
    end

    return { slot_taken = slot_taken, promote_due = promote_due }
end

local promoting

local function slot_taken(entry, id, now)
    promoting = promoting or promotion()
    return promoting.slot_taken(entry, id, now)
end

-- See above.
local function promote_due(queue, now, limit, told)
    promoting = promoting or promotion()
    return promoting.promote_due(queue, now, limit, told)
end

-- The moment of the next delayed message of `queue`, or nil.
local function next_due_of(queue)
    local head = redis.call('ZRANGE', delayed_key(queue), 0, 0, 'WITHSCORES')
    return head[2] and tonumber(head[2])
end
