-- Changes entries: adds, edits, removes, pauses or resumes each of them.
--
-- Guarantee: an entry's revision grows, so an arm that was planned before is refused (trap 1). Armed fires with a due time
-- later than now are withdrawn, or get a new body; older ones go on as they are (trap 2). Only a change of the schedule or of
-- the pause moves the mark: to now, never below the last promoted due time (trap 3), so an edit never fires retroactively.
-- A load that is older than the newest changes nothing (trap 4).
--
-- KEYS  1–12 core · 13 registry · 14 marks · 15 meta · 16 changes · 17 paused · 18 nudge
-- ARGV  1 number of the load, or 0 for a change by hand
--       2 msgpack: {{entry, state, definition, pause, move, limit, armed}, …}, at most 500:
--         state       "revision mark" as the caller read it, "" if there was none
--         definition  "" to remove the entry, "=" to keep it
--         pause       JSON of model.Pause, "" for none, "=" to keep it
--         move        whether the mark moves; limit: to this moment at most (ms; 0: now)
--         armed       {{id, due, its queue, new body or "", its queue then, its moment then}, …}: what may be armed
-- Reply {"SUPERSEDED"}, or {"OK", for each change its new "revision mark", or "!" and the state that was found instead}

--@include core header ready end outcome

local load = tonumber(ARGV[1])
local newest = tonumber(redis.call('HGET', KEYS[15], 'load') or 0)
if load > 0 and newest > load then return { 'SUPERSEDED' } end

redis.call('HDEL', KEYS[13], '') -- a first write that needs no memory: what takes fires away must pass on a full Redis
local now = server_time()
if load > newest then redis.call('HSET', KEYS[15], 'load', load) end

local function withdraw_or_renew(armed)
    local id, due, queue, body, new_queue, at = armed[1], armed[2], armed[3], armed[4], armed[5], armed[6]
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
    wake_for(new_queue, at, now)
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
        redis.call('PEXPIRE', runs, 604800000)
        redis.call('PEXPIRE', counts, 604800000)
    elseif definition ~= '=' then
        redis.call('HSET', KEYS[13], entry, definition)
        if known then
            redis.call('PERSIST', runs)
            redis.call('PERSIST', counts)
        end
    end
end

local function set_pause(entry, pause)
    if pause == '=' then return end
    if pause ~= '' then
        redis.call('HSET', KEYS[17], entry, pause)
        return
    end
    local was = redis.call('HGET', KEYS[17], entry)
    if not was then return end
    redis.call('HDEL', KEYS[17], entry)
    -- The due times of a pause have one outcome, recorded as a stretch.
    record_skip(entry, '', 'paused', cjson.decode(was).since_ms, now, 1, '', now)
end

local function change(entry, seen, definition, pause, move, limit, armed)
    local state = redis.call('HGET', KEYS[14], entry) or ''
    if state ~= seen then return '!' .. state end
    local revision = redis.call('HINCRBY', KEYS[15], 'revision', 1)
    for _, one in ipairs(armed) do withdraw_or_renew(one) end
    local mark = tonumber(string.match(state, ' (%-?%d+)$') or 0)
    if move or state == '' then mark = moved_mark(entry, limit) end
    local new_state = string.format('%d %.0f', revision, mark)
    redis.call('HSET', KEYS[14], entry, new_state)
    set_pause(entry, pause)
    set_definition(entry, definition, state ~= '')
    redis.call('ZADD', KEYS[16], revision, entry)
    return new_state
end

local reply = { 'OK' }
for _, one in ipairs(cmsgpack.unpack(ARGV[2])) do reply[#reply + 1] = change(unpack(one)) end
if #reply > 1 and redis.call('LLEN', KEYS[18]) == 0 then redis.call('RPUSH', KEYS[18], '1') end
return reply
