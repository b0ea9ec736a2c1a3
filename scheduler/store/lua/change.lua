-- Changes entries: adds, edits, removes, pauses or resumes each of them.
--
-- Guarantee: an entry's revision grows, so an arm that was planned before is refused (trap 1). Armed fires with a due time
-- later than now are withdrawn, or get a new body; older ones go on as they are (trap 2). Only a change of the schedule or of
-- the pause moves the mark: to now, never below the last promoted due time (trap 3), so an edit never fires retroactively.
-- A load that is older than the newest changes nothing (trap 4).
--
-- KEYS  1–12 core · 13 registry · 14 marks · 15 meta · 16 changes · 17 paused · 18 nudge
-- ARGV  1 number of the load, or 0 for a change by hand · 2 who made it · 3 the mistakes in its files, as JSON
--       then for each change: entry, state, definition, pause, move, limit, first and last due time of a pause that ends and how
--       many lie in it, how many fires may be armed, and for each of these: id, due, its queue, new body or "", its queue then, its moment then.
--         state       "revision mark" as the caller read it, "" if there was none
--         definition  "" to remove the entry, "=" to keep it
--         pause       JSON of model.Pause, "" for none, "=" to keep it
--         move        "1" if the mark moves; limit: to this moment at most (ms; 0: now)
-- Reply {"SUPERSEDED"}, or {"OK", for each change its new "revision mark", or "!" and the state that was found instead}

--@include core header ready end outcome

local load = tonumber(ARGV[1])
local newest = tonumber(redis.call('HGET', KEYS[15], 'load') or 0)
if load > 0 and newest > load then return { 'SUPERSEDED' } end

redis.call('HDEL', KEYS[13], '') -- a first write that needs no memory: what takes fires away must pass on a full Redis
local now = server_time()
if load > newest then
    redis.call('HSET', KEYS[15], 'load', load, 'load_by', ARGV[2], 'load_ms', string.format('%.0f', now), 'mistakes', ARGV[3])
end

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

local function set_definition(entry, definition, known)
    local runs, counts = PREFIX .. 'e:' .. entry .. ':runs', PREFIX .. 'e:' .. entry .. ':counts'
    if definition == '' then
        redis.call('HDEL', KEYS[13], entry)
        redis.call('HDEL', KEYS[17], entry)
        redis.call('HDEL', LAST, entry)
        redis.call('PEXPIRE', runs, REMOVED_KEPT_MS)
        redis.call('PEXPIRE', counts, REMOVED_KEPT_MS)
    elseif definition ~= '=' then
        redis.call('HSET', KEYS[13], entry, definition)
        if known then
            redis.call('PERSIST', runs)
            redis.call('PERSIST', counts)
        end
    end
end

-- The due times of a pause that ends have one outcome, recorded as a stretch: `count` of them, `from` … `to`.
local function set_pause(entry, pause, from, to, count)
    if pause == '=' then return end
    if pause ~= '' then
        redis.call('HSET', KEYS[17], entry, pause)
        return
    end
    if redis.call('HEXISTS', KEYS[17], entry) == 0 then return end
    redis.call('HDEL', KEYS[17], entry)
    if count > 0 then record_skip(entry, '', 'paused', from, to, count, '', now) end
end

-- Carries out the change that starts at ARGV[at]; returns its answer, and where the next one starts.
local function change(at)
    local entry, seen, definition, pause = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    local move, limit = ARGV[at + 4] == '1', tonumber(ARGV[at + 5])
    local from, to, count = tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7]), tonumber(ARGV[at + 8])
    local after = at + 10 + 6 * tonumber(ARGV[at + 9])
    local state = redis.call('HGET', KEYS[14], entry) or ''
    if state ~= seen then return '!' .. state, after end
    local revision = redis.call('HINCRBY', KEYS[15], 'revision', 1)
    for i = at + 10, after - 1, 6 do
        withdraw_or_renew(ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5])
    end
    local mark = tonumber(string.match(state, ' (%-?%d+)$') or 0)
    if move or state == '' then mark = moved_mark(entry, limit) end
    local new_state = string.format('%d %.0f', revision, mark)
    redis.call('HSET', KEYS[14], entry, new_state)
    set_pause(entry, pause, from, to, count)
    set_definition(entry, definition, state ~= '')
    redis.call('ZADD', KEYS[16], revision, entry)
    return new_state, after
end

local reply, at = { 'OK' }, 4
while at <= #ARGV do reply[#reply + 1], at = change(at) end
if #reply > 1 and redis.call('LLEN', KEYS[18]) == 0 then redis.call('RPUSH', KEYS[18], '1') end
return reply
