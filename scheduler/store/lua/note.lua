-- The audit log: who changed what, when and why. Written by the script that makes the change, so that there is no change
-- without its line, and no line without its change. Needs core.lua.

local AUDIT, AUDIT_MAX = PREFIX .. 'audit', 10000
local GROUP_LINES_MAX = 100 -- so many lines one change of many entries makes, with those of others between them, at most

local function trim_audit()
    redis.call('LTRIM', AUDIT, -AUDIT_MAX, -1)
end

-- Adds one line: `line` is the JSON of store/audit.py's Note without moment and revision, "" for none; `revision` is that of
-- the registry after the change, 0 where it did not change.
local function note_change(line, now, revision)
    if line == '' then return end
    local head = string.format('{"at_ms":%.0f,', now)
    if revision > 0 then head = head .. string.format('"revision":%d,', revision) end
    redis.call('RPUSH', AUDIT, head .. string.sub(line, 2))
    trim_audit()
end

-- Adds `counts` (what was done → how often) to the line of a change that concerns many entries and takes several calls: to that
-- of the same `group` if it is among the newest, else to a new one made of `line`.
local function note_many(line, counts, now, revision)
    if line == '' or next(counts) == nil then return end
    local note = cjson.decode(line)
    local newest, at = redis.call('LRANGE', AUDIT, -GROUP_LINES_MAX, -1), nil
    for i = #newest, 1, -1 do
        if string.find(newest[i], '"group":"' .. note.group .. '"', 1, true) then
            note, at = cjson.decode(newest[i]), i - #newest - 1
            break
        end
    end
    note.at_ms, note.revision = now, revision
    note.counts = note.counts or {}
    for what, n in pairs(counts) do note.counts[what] = (note.counts[what] or 0) + n end
    if at then
        redis.call('LSET', AUDIT, at, cjson.encode(note))
        return
    end
    redis.call('RPUSH', AUDIT, cjson.encode(note))
    trim_audit()
end
