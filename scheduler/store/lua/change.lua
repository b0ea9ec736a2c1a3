-- Changes entries: adds, edits, removes, pauses or resumes each of them, or orders that a fire be skipped.
--
-- Guarantee: an entry's revision grows, so an arm that was planned before is refused (trap 1). Armed fires with a due time
-- later than now are withdrawn, or get a new body; older ones go on as they are (trap 2). Only a change of the schedule or of
-- the pause moves the mark: to now, never below the last promoted due time (trap 3), so an edit never fires retroactively; what the
-- mark passes without having been armed has its outcome in the same moment (P2).
-- A load that is older than the newest changes nothing (trap 4). A fire whose moment has come is not skipped any more: either it
-- was armed as one to be skipped before that, or it goes on. Each change leaves its line in the audit log.
--
-- KEYS  1–12 core · 13 registry · 14 marks · 15 meta · 16 changes · 17 paused · 18 nudge
-- ARGV  1 number of the load, or 0 for a change by hand · 2 who made it · 3 the mistakes in its files, as JSON
--       4 the line that counts what this call changes in the audit log, as JSON (`note_many`), or ""
--       then for each change: entry, state, definition, pause, skips, move, limit, before, first and last due time that the mark
--       passes, how many these are, why they do not fire, note, how many fires may be armed, and for each of these: id, due, its
--       queue, new body or "", its queue then, its moment then.
--         state       "revision mark" as the caller read it, "" if there was none
--         definition  "" to remove the entry, "=" to keep it
--         pause       JSON of model.Pause, "" for none, "=" to keep it
--         skips       JSON of the entry's model.SkipOrders, "" for none, "=" to keep them
--         move        "1" if the mark moves; limit: to this moment at most (ms; 0: now). "quiet": the definition says the same in
--                     all that matters, so nothing but its text changes
--         before      the change is refused from this moment on (ms; 0: never)
--         note        its line in the audit log, as JSON, or ""
-- Reply {"SUPERSEDED"}, or {"OK", for each change its new "revision mark", or "!" and the state that was found instead, or "LATE"}

--@include core header ready line end outcome note

local SKIPPED, WATCHED = PREFIX .. 'skipped', PREFIX .. 'watched'
local load = tonumber(ARGV[1])
local newest = tonumber(redis.call('HGET', KEYS[15], 'load') or 0)
if load > 0 and newest > load then return { 'SUPERSEDED' } end

redis.call('HDEL', KEYS[13], '') -- a first write that needs no memory: what takes fires away must pass on a full Redis
local now = server_time()
if load > newest then
    redis.call('HSET', KEYS[15], 'load', load, 'load_by', ARGV[2], 'load_ms', string.format('%.0f', now))
end
if load > 0 then redis.call('HSET', KEYS[15], 'mistakes', ARGV[3]) end

local function withdraw_or_renew(id, due, queue, body, new_queue, at)
    if due <= now or not redis.call('ZSCORE', delayed_key(queue), id) then return end
    if body == '' then
        redis.call('ZREM', delayed_key(queue), id)
        redis.call('HDEL', MESSAGES, id)
        return
    end
    redis.call('HSET', MESSAGES, id, body)
    if queue ~= new_queue then
        redis.call('ZREM', delayed_key(queue), id)
        redis.call('SADD', QUEUES, new_queue)
    end
    redis.call('ZADD', delayed_key(new_queue), at, id)
    wake_for(new_queue, tonumber(at), now)
end

local function moved_mark(entry, limit)
    local promoted = redis.call('HGET', PROMOTED, entry)
    local floor = promoted and tonumber(string.match(promoted, '^(%-?%d+)')) or 0
    return math.max(limit > 0 and math.min(limit, now) or now, floor)
end

-- What was done, for the audit log: added, changed or removed; nil where the definition stays.
local function set_definition(entry, definition, known)
    local runs, counts = PREFIX .. 'e:' .. entry .. ':runs', PREFIX .. 'e:' .. entry .. ':counts'
    if definition == '' then
        redis.call('HDEL', KEYS[13], entry)
        redis.call('HDEL', KEYS[17], entry)
        redis.call('HDEL', LAST, entry)
        redis.call('PEXPIRE', runs, REMOVED_KEPT_MS)
        redis.call('PEXPIRE', counts, REMOVED_KEPT_MS)
        return 'removed'
    elseif definition ~= '=' then
        local is_new = redis.call('HSET', KEYS[13], entry, definition) == 1
        if known then
            redis.call('PERSIST', runs)
            redis.call('PERSIST', counts)
        end
        return is_new and 'added' or 'changed'
    end
end

-- What was done: as above.
local function set_pause(entry, pause)
    if pause == '=' then return end
    if pause ~= '' then
        redis.call('HSET', KEYS[17], entry, pause)
        return 'paused'
    end
    if redis.call('HDEL', KEYS[17], entry) == 0 then return end
    -- A resumed entry begins anew: what had failed before must not pause it again.
    local last = redis.call('HGET', LAST, entry)
    if last then redis.call('HSET', LAST, entry, (string.gsub(last, '^(%S+ %d+ %d+) %d+$', '%1 0'))) end
    return 'resumed'
end

local function set_skips(entry, skips)
    if skips == '' then
        redis.call('HDEL', SKIPPED, entry)
    elseif skips ~= '=' then
        redis.call('HSET', SKIPPED, entry, skips)
    end
end

-- Keeps the list of entries that beats look after, each with the moment since when: due times up to then are none of theirs.
local function set_watch(entry, definition, mark, moved)
    if definition == '=' then
        if redis.call('HEXISTS', WATCHED, entry) == 0 then return end
    elseif not string.find(definition, '"watch":{', 1, true) then -- elsewhere in it too: the list may hold one too many, none too few
        redis.call('HDEL', WATCHED, entry)
        return
    end
    if moved then
        redis.call('HSET', WATCHED, entry, string.format('%.0f', mark))
    else
        redis.call('HSETNX', WATCHED, entry, string.format('%.0f', now))
    end
end

local counts = {}

local function count(what)
    if what then counts[what] = (counts[what] or 0) + 1 end
end

-- Carries out the change that starts at ARGV[at]; returns its answer, and where the next one starts.
local function change(at)
    local entry, seen, definition, pause, skips, how = unpack(ARGV, at, at + 5)
    local limit, before, from, to, n = tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7]), tonumber(ARGV[at + 8]),
        tonumber(ARGV[at + 9]), tonumber(ARGV[at + 10])
    local why, note = ARGV[at + 11], ARGV[at + 12]
    local after = at + 14 + 6 * tonumber(ARGV[at + 13])
    local state = redis.call('HGET', KEYS[14], entry) or ''
    if state ~= seen then return '!' .. state, after end
    if before > 0 and now >= before then return 'LATE', after end
    if how == 'quiet' then
        redis.call('HSET', KEYS[13], entry, definition)
        return state, after
    end
    local revision = redis.call('HINCRBY', KEYS[15], 'revision', 1)
    for i = at + 14, after - 1, 6 do
        withdraw_or_renew(ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5])
    end
    local mark = tonumber(string.match(state, ' (%-?%d+)$') or 0)
    local moves = how == '1' or state == ''
    if moves then mark = moved_mark(entry, limit) end
    local new_state = string.format('%d %.0f', revision, mark)
    redis.call('HSET', KEYS[14], entry, new_state)
    if n > 0 then record_skip(entry, '', why, from, to, n, '', now) end
    count(set_pause(entry, pause))
    set_skips(entry, skips)
    count(set_definition(entry, definition, state ~= ''))
    set_watch(entry, definition, mark, moves)
    redis.call('ZADD', KEYS[16], revision, entry)
    note_change(note, now, revision)
    return new_state, after
end

local reply, at = { 'OK' }, 5
while at <= #ARGV do reply[#reply + 1], at = change(at) end
note_many(ARGV[4], counts, now, tonumber(redis.call('HGET', KEYS[15], 'revision') or 0))
if #reply > 1 and redis.call('LLEN', KEYS[18]) == 0 then redis.call('RPUSH', KEYS[18], '1') end
return reply
