-- Ends a batch of runs with their results, and takes the next batch in the same round trip.
--
-- Guarantee: an outcome is written only while the session holds its message, so it is written once (P9); result, history
-- and slot change together with the message's end (P5).
--
-- KEYS  1–12 core
-- ARGV  1 session · 2 how many to take (0 for none) · 3 bytes at most, about · 4 "1" to be told of each fire
--       5… how to take, see `read_way` in take_batch.lua; then how many queues, and the queues; then how many of these runs have a
--       unique key, and for each of them id and key as its header says it; then the outcomes, at most 1,000 of them, in groups of
--       those that have the same in common: how many, ttl in ms, entry, state, "" or (keep them as dead letters) a traceback as
--       JSON; then for each id, result, run
-- Reply {"LOST"}, or {"OK", counter, now in µs, refused ids, what `take_batch` returns or {}}

--@include core header ready line end limits outcome promote_due session take_batch

local session = ARGV[1]
local counter = renewed(session)
if not counter then return { 'LOST' } end

local now, now_us = server_time()
local held = held_key(session)
local way, queues_at = read_way(5)
local uniques = queues_at + 1 + tonumber(ARGV[queues_at])
local first = uniques + 1 + 2 * tonumber(ARGV[uniques])
local refused = {}
local GROUP = 5 -- so many arguments say what the outcomes of a group have in common

if #ARGV >= first then
    local ids = {}
    local at = first
    while at <= #ARGV do
        local behind = at + GROUP + 3 * ARGV[at]
        for i = at + GROUP, behind - 1, 3 do ids[#ids + 1] = ARGV[i] end
        at = behind
    end
    local owned = redis.call('HMGET', held, unpack(ids))
    local ended, runs, failed, seen = {}, {}, {}, {}
    local of = { ids = {}, entries = {}, runs = {}, states = {} } -- those of entries
    local number = 0
    at = first
    while at <= #ARGV do
        local behind = at + GROUP + 3 * ARGV[at]
        local ttl, entry, state, trace = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
        local till = string.format('%.0f', now + math.max(1, ttl)) -- a text: a number would be printed anew for each call
        for i = at + GROUP, behind - 1, 3 do
            local id, result, run = ARGV[i], ARGV[i + 1], ARGV[i + 2]
            number = number + 1
            if owned[number] and not seen[id] then
                seen[id] = true
                ended[#ended + 1] = id
                runs[#runs + 1] = run
                if result ~= '' then redis.call('SET', PREFIX .. 'r:' .. id, result, 'PXAT', till) end
                if entry ~= '' then
                    local n = #of.ids + 1
                    of.ids[n], of.entries[n], of.runs[n], of.states[n] = id, entry, run, state
                end
                if trace ~= '' then
                    endings()
                    bury(id, redis.call('HGET', MESSAGES, id) or '', run, trace, now)
                elseif state == 'FAILURE' then
                    failed[#failed + 1] = id
                end
            else
                refused[#refused + 1] = id
            end
        end
        at = behind
    end
    if #ended > 0 then
        if #failed > 0 or #of.ids > 0 or first > uniques + 1 then endings() end
        if #failed > 0 then keep_failed(failed) end
        local bodies = #of.ids > 0 and redis.call('HMGET', MESSAGES, unpack(of.ids))
        for at = uniques + 1, first - 1, 2 do
            if seen[ARGV[at]] then free_unique(ARGV[at + 1], ARGV[at]) end
        end
        redis.call('HDEL', held, unpack(ended))
        redis.call('HDEL', MESSAGES, unpack(ended))
        if redis.call('EXISTS', TRIES) == 1 then
            redis.call('HDEL', TRIES, unpack(ended))
            redis.call('HDEL', LOSSES, unpack(ended))
        end
        local cancels = cancels_key(session)
        if redis.call('EXISTS', cancels) == 1 then redis.call('HDEL', cancels, unpack(ended)) end
        remember(runs)
        if bodies then
            local dues = {}
            for i, body in ipairs(bodies) do
                dues[i] = stands_for(body or '')
                if body and is_pinged(flags_of(body)) then
                    ping_end(of.entries[i], of.states[i], of.ids[i], cjson.decode(of.runs[i]).error, now)
                end
            end
            remember_of(of.entries, of.runs, of.states, dues, now)
            free_slots(of.entries, of.ids, now)
        end
        tell_waiters(ended, now)
        if redis.call('EXISTS', QUEUE_LIMITS) == 1 then
            local woken = {}
            for _, place in ipairs(owned) do
                local queue = place and string.match(place, '^%S+')
                if queue and not woken[queue] then
                    woken[queue] = true
                    wake_limited(queue)
                end
            end
        end
    end
end

local taken = {}
local n = tonumber(ARGV[2])
if n > 0 then
    local queues = {}
    for i = queues_at + 1, uniques - 1 do queues[#queues + 1] = ARGV[i] end
    taken = take_batch(session, queues, n, tonumber(ARGV[3]), now, now_us, ARGV[4] == '1', way)
end
return { 'OK', counter, now_us, refused, taken }
