-- Puts a run that somebody asked for by hand on its queue, in the overlap slot of its entry.
--
-- Guarantee: the mark does not move and no due time is consumed; while the slot is held, or its unique key, the call is refused,
-- unless forced (a forced run takes neither). A call
-- id that is remembered starts nothing, however its run has ended: whoever repeats a call after a lost reply is answered as
-- before, whoever else uses its id is told so.
--
-- KEYS  1–12 core · 13 call
-- ARGV  1 how long the call id is remembered, in ms · 2 entry · 3 "1" to force · 4 id · 5 body · 6 queue
--       7 moment in ms (0: now) · 8 priority · 9 who calls: the same whenever it repeats the call · 10 a line for the audit log, or ""
--       11 the dead letter that this run takes the place of, or ""
-- Reply {"OK", ""}, {"AGAIN", ""}, {"GONE", ""} if there is no such dead letter, {"HELD", id of the holder}, or
--       {"UNIQUE", id of the run that has its key}, or {"FULL", how many wait in its queue and how many may: "100/100"}

--@include core header ready line end limits outcome promote_due note

endings()

local entry, force, id, body, queue, at = ARGV[2], ARGV[3] == '1', ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
local h = parse(body)
local now = server_time()
local caller = redis.call('GET', KEYS[13])
if caller then return { caller == ARGV[9] and 'OK' or 'AGAIN', '' } end
if ARGV[11] ~= '' and not redis.call('ZSCORE', DEAD, ARGV[11]) then return { 'GONE', '' } end
if h.overlap ~= ALLOW and not force then
    local taken, holder = slot_taken(entry, id, now)
    if taken then return { 'HELD', holder or '' } end
end
local length_max, overflow = limits_of(queue)
if length_max and overflow == 'refuse' and not force and at <= now then
    local _, n = all_ready(queue)
    if n >= length_max then return { 'FULL', n .. '/' .. length_max } end
end
local unique_by = h.unique and not force and unique_holder(h.unique, id, now)
if unique_by then return { 'UNIQUE', unique_by } end
redis.call('SET', KEYS[13], ARGV[9], 'PX', ARGV[1])
if h.unique and not force then take_unique(h.unique, id, now, at) end
-- A forced run stands beside the slot for good: neither its moment nor a retry may find it taken.
if force then body = string.sub(body, 1, 3) .. string.char(ALLOW) .. string.sub(body, 5) end
if h.overlap ~= ALLOW and not force then redis.call('HSET', SLOTS, entry, id) end
redis.call('HSET', MESSAGES, id, body)
redis.call('SADD', QUEUES, queue)
if at > 0 then
    redis.call('ZADD', delayed_key(queue), at, id)
    wake_for(queue, at, now)
else
    push_ready(queue, tonumber(ARGV[8]), { id }, false)
    wake(queue)
end
if ARGV[11] ~= '' then
    forget_dead({ ARGV[11] })
    note_many(ARGV[10], { requeued = 1 }, now, 0) -- whoever puts many back has one line for all
else
    note_change(ARGV[10], now, 0)
end
return { 'OK', '' }
