-- How a run ends, for every way in which it can (finish, expiry, cancel, purge, reclaim): what people read of it, its
-- result, its slot, its waiters. Needs core.lua, header.lua, ready.lua, line.lua.

local RUNS_MAX, DEAD_MAX = 10000, 10000
local REMOVED_KEPT_MS = 604800000 -- what is known of an entry outlives its removal by a week
local entry_runs_kept

-- Adds finished runs (JSON of model.Run) to the namespace's ring.
local function remember(runs)
    if #runs == 0 then return end
    redis.call('RPUSH', RUNS, unpack(runs))
    redis.call('LTRIM', RUNS, -RUNS_MAX, -1)
end

local PINGS, PINGS_MAX, PING_LINE_MAX = PREFIX .. 'pings', 1000, 20

-- Whether somebody outside is to hear of a run with these flags. A backfill tells nothing of how its entry fares now.
local function is_pinged(flags)
    return has(flags, FLAG_PING) and not has(flags, FLAG_BACKFILL)
end

-- Wakes those who wait for these results. Nobody waits, mostly: then this is one call for the whole batch.
local function tell_waiters(ids, now)
    if redis.call('EXISTS', WAITED) == 0 then return end
    redis.call('ZREMRANGEBYSCORE', WAITED, '-inf', now)
    for _, id in ipairs(ids) do
        if redis.call('ZSCORE', WAITED, id) then redis.call('PUBLISH', PREFIX .. 'done:' .. id, '1') end
    end
end

-- The runs of backfills that wait for the slot of their entry stand in a line, the earliest due time first; LINES has the entries
-- that have one, so that whoever has none pays nothing.
local LINES = PREFIX .. 'lines'

-- Who lost a message, as JSON objects behind commas: there while TRIES counts a loss. What stands with a dead letter.
local LOSSES, DEAD_STORIES = PREFIX .. 'losses', PREFIX .. 'dead_stories'

local FAILED, FAILED_MESSAGES = PREFIX .. 'failed', PREFIX .. 'failed_messages'
local FAILED_MAX, FAILED_BYTES_MAX = 10000, 64 * 1024 * 1024

-- All that follows is made when it is first needed, by `endings()`: most takes and finishes need none of it, and to make these
-- functions costs Redis more than all that such a call has to do.
local entry_runs_key, entry_runs_max, ping, ping_end, remember_of, count_promoted, is_used_up, count_outcome, free_unique, take_unique,
    ends_expired, unique_holder, line_key, stand_in_line, free_slots, bury, forget_dead, keep_failed, end_here

local function endings()
    if end_here then return end

    function entry_runs_key(entry)
        return PREFIX .. 'e:' .. entry .. ':runs'
    end

    -- How many runs of each entry are kept: what the settings of the leader say (`history`).
    function entry_runs_max()
        entry_runs_kept = entry_runs_kept or tonumber(redis.call('HGET', PREFIX .. 'meta', 'history') or 20)
        return entry_runs_kept
    end

    -- Puts a ping into the line of `entry`: its run `id` has started, succeeded or failed (outbox.lua tells of lines). The newest are
    -- kept: what nobody could be told of in time has passed.
    function ping(entry, what, id, error, now)
        local item = cjson.encode({ what = what, id = id, error = error, at_ms = now })
        local line = PINGS .. ':' .. entry
        if redis.call('RPUSH', line, item) > PING_LINE_MAX then redis.call('LTRIM', line, -PING_LINE_MAX, -1) end
        if redis.call('ZADD', PINGS, 'NX', now, entry) == 1 and redis.call('ZCARD', PINGS) > PINGS_MAX then
            local oldest = redis.call('ZPOPMIN', PINGS)[1]
            redis.call('DEL', PINGS .. ':' .. oldest)
            redis.call('HDEL', PREFIX .. 'pings_failures', oldest)
        end
    end

    -- … that it has ended: what was cancelled or has expired says nothing either way.
    function ping_end(entry, state, id, error, now)
        if state == 'FAILURE' then
            ping(entry, 'fail', id, error, now)
        elseif state == 'SUCCESS' or state == 'IGNORED' then
            ping(entry, 'success', id, nil, now)
        end
    end

    -- What is kept in LAST of an entry after one more run of it has ended: "state finished_ms succeeded_ms failures".
    -- `due`: the due time it ran for; of a run by hand, when that was asked for: its success stands for all that was due before.
    -- Negative of a backfill: it makes a due time good, and says nothing of how the entry fares now. What expired, or was cancelled,
    -- is neither a success nor a failure.
    local function last_after(was, state, now, due)
        local succeeded, failures
        if was then succeeded, failures = string.match(was, '^%S+ %d+ (%d+) (%d+)$') end
        if due < 0 then
            if state == 'SUCCESS' then succeeded = string.format('%.0f', math.max(succeeded or 0, -due)) end
            return state .. ' ' .. now .. ' ' .. (succeeded or '0') .. ' ' .. (failures or '0')
        end
        if state == 'SUCCESS' or state == 'IGNORED' then
            return string.format('%s %s %.0f 0', state, now, succeeded and math.max(succeeded, due) or due)
        end
        failures = failures or 0
        if state == 'FAILURE' then failures = failures + 1 end
        return state .. ' ' .. now .. ' ' .. (succeeded or '0') .. ' ' .. failures
    end

    -- … and each to the ring of its entry, with what is known of that entry's last runs: at most 1,000 of them in four lists that
    -- go together. Of an entry that was removed meanwhile, nothing is kept for ever.
    function remember_of(entries, runs, states, dues, now)
        local known, new, args = redis.call('HMGET', LAST, unpack(entries)), {}, {}
        local ended = string.format('%.0f', now)
        for i, entry in ipairs(entries) do
            local key = entry_runs_key(entry)
            if redis.call('RPUSH', key, runs[i]) > entry_runs_max() then redis.call('LTRIM', key, -entry_runs_max(), -1) end
            local was = new[entry] or known[i] -- goes with its entry: where there is one, the entry is in force
            if was or redis.call('HEXISTS', PREFIX .. 'registry', entry) == 1 then
                new[entry] = last_after(was, states[i], ended, dues[i])
            else
                redis.call('PEXPIRE', key, REMOVED_KEPT_MS)
            end
        end
        for entry, last in pairs(new) do
            args[#args + 1] = entry
            args[#args + 1] = last
        end
        if #args > 0 then redis.call('HSET', LAST, unpack(args)) end
    end

    -- Raises what is known of the last promoted due time and counts it.
    function count_promoted(entry, due)
        local was = redis.call('HGET', PROMOTED, entry)
        local last, count = 0, 0
        if was then
            local gap = string.find(was, ' ', 1, true)
            last, count = tonumber(string.sub(was, 1, gap - 1)), tonumber(string.sub(was, gap + 1))
        end
        redis.call('HSET', PROMOTED, entry, string.format('%.0f %d', math.max(last, due), count + 1))
        return count + 1
    end

    -- Whether the entry of the fire `h` has had as many runs as it may have.
    function is_used_up(h)
        if h.max_runs == 0 then return false end
        local was = redis.call('HGET', PROMOTED, h.entry)
        return was and tonumber(string.match(was, ' (%d+)$')) >= h.max_runs
    end

    -- Counts `n` due times of `entry` with this outcome.
    function count_outcome(entry, outcome, n)
        local key = PREFIX .. 'e:' .. entry .. ':counts'
        if redis.call('HINCRBY', key, outcome, n) == n and redis.call('HEXISTS', PREFIX .. 'registry', entry) == 0 then
            redis.call('PEXPIRE', key, REMOVED_KEPT_MS)
        end
    end

    -- The unique key of a message (`h.unique`: how long it may be held at most in ms, a blank, the key): {ns}:u:KEY holds the id of the
    -- run that has it. Its word alone is not believed: a holder whose body is gone is over, so nothing that is lost leaks a key.
    local function unique_parts(text)
        local bound, key = string.match(text, '^(%d+) (.+)$')
        return PREFIX .. 'u:' .. (key or text), tonumber(bound or 1)
    end

    function free_unique(text, id)
        local key = unique_parts(text)
        if redis.call('GET', key) == id then redis.call('DEL', key) end
    end

    -- Gives the key to `id`, which may start at `at`: from then on it is held as long as its bound says, if the run has not ended before.
    function take_unique(text, id, now, at)
        local key, bound = unique_parts(text)
        redis.call('SET', key, id, 'PX', string.format('%.0f', bound + math.max(0, at - now)))
    end

    -- Whether the message `holder` waits in ready and has expired, so that it will never start: then it ends here.
    function ends_expired(holder, body, now)
        local h = parse(body)
        if not (h and h.expires > 0 and h.expires <= now and take_out_of_ready(h, holder)) then return false end
        end_here(holder, body, 'EXPIRED', '', now)
        return true
    end

    -- The run other than `id` that has the key; nil if it is free.
    function unique_holder(text, id, now)
        local key = unique_parts(text)
        local holder = redis.call('GET', key)
        if not holder or holder == id then return nil end
        local body = redis.call('HGET', MESSAGES, holder)
        if not body or ends_expired(holder, body, now) then return nil end
        return holder
    end

    function line_key(entry)
        return PREFIX .. 'e:' .. entry .. ':line'
    end

    function stand_in_line(entry, due, id)
        redis.call('ZADD', line_key(entry), due, id)
        redis.call('SADD', LINES, entry)
    end

    local function unique_error(holder)
        return 'run ' .. holder .. ' has its unique key and has not ended'
    end

    -- Takes the first out of the line of `entry`; nil if nobody stands there.
    local function next_in_line(entry)
        repeat
            local id = redis.call('ZPOPMIN', line_key(entry))[1]
            if id and redis.call('HEXISTS', MESSAGES, id) == 1 then return id end
        until not id
        redis.call('SREM', LINES, entry)
    end

    -- The slot of `entry` passes to `waiting`, the id that waits for it, or becomes free if that has no body any more. One that has
    -- expired while it waited was not promoted, and never will be; nor will one whose unique key somebody else has taken meanwhile.
    local function pass_slot(entry, waiting, now)
        local body = redis.call('HGET', MESSAGES, waiting)
        redis.call('HDEL', WAITING, entry)
        if not body then
            waiting = next_in_line(entry)
            body = waiting and redis.call('HGET', MESSAGES, waiting)
        end
        if not body then
            redis.call('HDEL', SLOTS, entry)
            return
        end
        local h = parse(body)
        local fire = has(h.flags, FLAG_FIRE) -- else it was promoted long ago
        local expired = h.expires > 0 and h.expires <= now
        local by = not expired and h.unique and unique_holder(h.unique, waiting, now)
        local used_up = fire and is_used_up(h) -- others may have run while it waited
        if expired or by or used_up then
            local outcome = fire and (expired and 'expired' or by and 'unique' or 'max_runs')
            redis.call('HDEL', SLOTS, entry)
            if outcome then count_outcome(entry, outcome, 1) end
            end_here(waiting, body, expired and 'EXPIRED' or 'REVOKED', by and unique_error(by) or '', now, outcome)
            local following = next_in_line(entry)
            if following then return pass_slot(entry, following, now) end -- a tail call: a whole line may have expired
            return
        end
        redis.call('HSET', SLOTS, entry, waiting)
        if h.unique then take_unique(h.unique, waiting, now, now) end
        if fire then count_promoted(entry, h.due) end
        push_ready(h.queue, h.priority, { waiting }, false)
        wake(h.queue)
    end

    -- The slots of `entries` that are held by these `ids` (two lists, at most 1,000) pass to what waits for them, or become free. A fire
    -- goes before the line: a backfill may take its time.
    function free_slots(entries, ids, now)
        local holders, held, free = redis.call('HMGET', SLOTS, unpack(entries)), {}, {}
        for i, entry in ipairs(entries) do
            if holders[i] == ids[i] then held[#held + 1] = entry end
        end
        if #held == 0 then return end
        local waiting, lines = redis.call('HMGET', WAITING, unpack(held)), redis.call('EXISTS', LINES) == 1
        for i, entry in ipairs(held) do
            local following = waiting[i] or (lines and next_in_line(entry))
            if following then pass_slot(entry, following, now) else free[#free + 1] = entry end
        end
        if #free > 0 then redis.call('HDEL', SLOTS, unpack(free)) end
    end

    -- Keeps a message for people, with its story: `run` as the history has it, `traceback` (both JSON), and who lost it. The oldest
    -- goes when there are too many.
    function bury(id, body, run, traceback, now)
        local losses = redis.call('HGET', LOSSES, id) or ''
        redis.call('ZADD', DEAD, now, id)
        redis.call('HSET', DEAD_MESSAGES, id, body)
        redis.call('HSET', DEAD_STORIES, id, '{"run":' .. run .. ',"traceback":' .. traceback .. ',"losses":[' .. losses .. ']}')
        while redis.call('ZCARD', DEAD) > DEAD_MAX do
            local oldest = redis.call('ZPOPMIN', DEAD)
            redis.call('HDEL', DEAD_MESSAGES, oldest[1])
            redis.call('HDEL', DEAD_STORIES, oldest[1])
        end
    end

    -- Keeps these dead letters no longer, at most 1,000; how many there were.
    function forget_dead(ids)
        redis.call('HDEL', DEAD_MESSAGES, unpack(ids))
        redis.call('HDEL', DEAD_STORIES, unpack(ids))
        return redis.call('ZREM', DEAD, unpack(ids))
    end

    -- Keeps the bodies of runs that have failed, at most 1,000, for `sched retry`. The oldest go when there are too many or when
    -- they take too much, but for one: each is scored by the bytes kept up to its own, so a difference of scores is a size.
    function keep_failed(ids)
        local bodies = redis.call('HMGET', MESSAGES, unpack(ids))
        local bytes = tonumber(redis.call('ZRANGE', FAILED, -1, -1, 'WITHSCORES')[2] or 0)
        for i, id in ipairs(ids) do
            if bodies[i] then
                bytes = bytes + #bodies[i]
                redis.call('ZADD', FAILED, string.format('%.0f', bytes), id)
                redis.call('HSET', FAILED_MESSAGES, id, bodies[i])
            end
        end
        local oldest = redis.call('ZRANGE', FAILED, 0, 0, 'WITHSCORES')
        while oldest[1] and (redis.call('ZCARD', FAILED) > FAILED_MAX or tonumber(oldest[2]) <= bytes - FAILED_BYTES_MAX) do
            redis.call('ZREM', FAILED, oldest[1])
            redis.call('HDEL', FAILED_MESSAGES, oldest[1])
            oldest = redis.call('ZRANGE', FAILED, 0, 0, 'WITHSCORES')
        end
    end

    -- Ends a run that no worker will end: it expired, was cancelled or purged, or is lost. `body` may be unreadable.
    -- `unpromoted`: of a fire that ends before its promotion, the outcome of its due time.
    -- `lost`: {attempt, worker} of one whose worker died; with `dead`, it is kept as a dead letter.
    function end_here(id, body, state, error, now, unpromoted, lost)
        redis.call('HDEL', MESSAGES, id)
        local tried = redis.call('HDEL', TRIES, id) == 1
        local h = parse(body) or { entry = '', task = '', queue = '', flags = 0, due = 0, enqueued = 0, result_ttl_s = 86400 }
        local run = { id = id, entry = h.entry, task = h.task, queue = h.queue, state = state, due_ms = h.due,
            enqueued_ms = h.enqueued, finished_ms = now, error = error, retry_of = h.retry_of, backfill = h.backfill, by = h.by,
            reason = h.reason }
        if h.due > 0 and not h.retry_of and not h.backfill then run.outcome = unpromoted or 'promoted' end
        if lost then run.attempt, run.worker = lost.attempt, lost.worker end
        local text = cjson.encode(run)
        if lost and lost.dead then bury(id, body, text, 'null', now) end
        if lost or tried then redis.call('HDEL', LOSSES, id) end
        remember({ text })
        if h.unique then free_unique(h.unique, id) end
        if h.entry ~= '' then
            remember_of({ h.entry }, { text }, { state }, { stands_for(body) }, now)
            free_slots({ h.entry }, { id }, now)
            if is_pinged(h.flags) then ping_end(h.entry, state, id, error, now) end
        end
        if not has(h.flags, FLAG_IGNORE_RESULT) then
            local result = { state = state, done_ms = now }
            if state == 'FAILURE' then
                result.result = { type = 'LostError', module = 'scheduler', message = error, args = { error } }
            end
            redis.call('SET', PREFIX .. 'r:' .. id, cjson.encode(result), 'PX', math.max(1000, h.result_ttl_s * 1000))
        end
        tell_waiters({ id }, now)
    end
end
