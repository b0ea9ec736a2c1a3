-- The other half of wire.py: what scripts know of a message without reading its payload.
-- Offsets are 1-based; the header has 60 bytes, then the names of entry, task and queue, then what the flags say: the id of the
-- run that is repeated (FLAG_RETRY), the id of the backfill (FLAG_BACKFILL), by whom and why (FLAG_HAND); and with UNIQUE
-- the unique key, after how long it may be held.

local FLAG_FIRE, FLAG_EARLY, FLAG_IGNORE_RESULT, FLAG_RETRY, FLAG_BACKFILL, FLAG_PING, FLAG_HAND = 1, 2, 4, 16, 32, 64, 128
local UNIQUE = 32 -- a mark in the codec byte, whose low bits are the serializer
local ALLOW, SKIP, QUEUE, REPLACE = 0, 1, 2, 3
local EXPIRES_SKIPPED = 1
local CATCHUP_NONE, CATCHUP_LATEST, CATCHUP_ALL = 0, 1, 2

-- Whether these can be the bytes of a message of ours. What is not goes to a worker as it is, which records it.
local function readable(body)
    return #body >= 60 and string.byte(body, 1) == 1
end

local function has(flags, flag)
    return bit.band(flags, flag) ~= 0
end

local function priority_of(body)
    return readable(body) and string.byte(body, 2) or 0
end

local function flags_of(body)
    return readable(body) and string.byte(body, 3) or 0
end

local function has_mark(body, mark)
    return readable(body) and has(string.byte(body, 6), mark)
end

local function task_of(body)
    if not readable(body) then return '' end
    local entry_n, task_n = struct.unpack('<I2I2', body, 55)
    return string.sub(body, 61 + entry_n, 60 + entry_n + task_n)
end

local function expires_of(body)
    return readable(body) and (struct.unpack('<d', body, 23)) or 0
end

-- The due time that a message runs for, negative for a backfill; of one by hand, when it was asked for.
local function stands_for(body)
    if not readable(body) then return 0 end
    local due, _, _, enqueued = struct.unpack('<dddd', body, 7)
    if due > 0 then return has(flags_of(body), FLAG_BACKFILL) and -due or due end
    return enqueued
end

-- Whether a number of a header can be a moment; nan and infinity cannot, and no JSON carries them.
local function is_moment(ms)
    return ms >= 0 and ms < 9007199254740992
end

-- The text at `at` that says its length, and where it ends; nil if it is cut short.
local function text_at(body, at)
    if #body < at + 1 then return nil end
    local first, last = at + 2, at + 1 + struct.unpack('<I2', body, at)
    if #body < last then return nil end
    return string.sub(body, first, last), last + 1
end

-- What the flags say stands behind the names: false if it is cut short.
local function parse_told(h, body, at)
    if has(h.flags, FLAG_RETRY) then
        h.retry_of, at = text_at(body, at)
        if not at then return false end
    end
    if has(h.flags, FLAG_BACKFILL) then
        h.backfill, at = text_at(body, at)
        if not at then return false end
    end
    if has(h.flags, FLAG_HAND) then
        h.by, at = text_at(body, at)
        if not at then return false end
        h.reason, at = text_at(body, at)
        if not at then return false end
    end
    if has(h.codec, UNIQUE) then
        h.unique, at = text_at(body, at)
        if not at then return false end
    end
    return true
end

-- The whole header, or nil for bytes that are not ours: `decode_header` in wire.py refuses the same ones.
local function parse(body)
    if not readable(body) then return nil end
    local h = {}
    local entry_n, task_n, queue_n, _
    _, h.priority, h.flags, h.overlap, h.catchup, h.codec, h.due, h.next_due, h.expires, h.enqueued,
        h.result_ttl_s, h.late_limit, h.window_s, h.max_runs, entry_n, task_n, queue_n =
        struct.unpack('<BBBBBBddddI4I4I4I4I2I2I2', body)
    if h.overlap > REPLACE or h.catchup > CATCHUP_ALL or #body < 60 + entry_n + task_n + queue_n then return nil end
    if not (is_moment(h.due) and is_moment(h.next_due) and is_moment(h.expires) and is_moment(h.enqueued)) then return nil end
    h.entry = string.sub(body, 61, 60 + entry_n)
    h.task = string.sub(body, 61 + entry_n, 60 + entry_n + task_n)
    h.queue = string.sub(body, 61 + entry_n + task_n, 60 + entry_n + task_n + queue_n)
    if (h.flags >= FLAG_RETRY or has(h.codec, UNIQUE)) and not parse_told(h, body, 61 + entry_n + task_n + queue_n) then return nil end
    return h
end

-- A due time is settled once: what comes back to a delayed set (retry, unknown task) is no fire any more.
local function without_fire_flag(body)
    local flags = flags_of(body)
    if not has(flags, FLAG_FIRE) then return body end
    return string.sub(body, 1, 2) .. string.char(flags - FLAG_FIRE) .. string.sub(body, 4)
end
