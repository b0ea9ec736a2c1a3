-- Ends a batch of runs with their results, and takes the next batch in the same round trip.
--
-- Guarantee: an outcome is written only while the session holds its message, so it is written once (P9); result, history
-- and slot change together with the message's end (P5).
--
-- KEYS  1–12 core
-- ARGV  1 session · 2 outcomes, msgpack: {{id, result, ttl in ms, run, entry, state, dead}, …}, at most 1,000
--       3 how many to take (0 for none) · 4 bytes at most, about · 5 "1" to be told of each fire · 6… queues
-- Reply {"LOST"}, or {"OK", counter, now in µs, refused ids, {next moment, more, told, id, body, tries, …} or {}}

--@include core header ready end outcome promote_due session take_batch

local session = ARGV[1]
local counter = renewed(session)
if not counter then return { 'LOST' } end

local now, now_us = server_time()
local outcomes = cmsgpack.unpack(ARGV[2])
local held = held_key(session)
local refused = {}

if #outcomes > 0 then
    local ids = {}
    for i, outcome in ipairs(outcomes) do ids[i] = outcome[1] end
    local owned = redis.call('HMGET', held, unpack(ids))
    local ended, runs = {}, {}
    for i, outcome in ipairs(outcomes) do
        local id = ids[i]
        if owned[i] then
            ended[#ended + 1] = id
            runs[#runs + 1] = outcome[4]
            if outcome[2] ~= '' then redis.call('SET', PREFIX .. 'r:' .. id, outcome[2], 'PX', outcome[3]) end
            if outcome[7] then bury(id, redis.call('HGET', MESSAGES, id) or '', now) end
        else
            refused[#refused + 1] = id
        end
    end
    if #ended > 0 then
        redis.call('HDEL', held, unpack(ended))
        redis.call('HDEL', MESSAGES, unpack(ended))
        redis.call('HDEL', TRIES, unpack(ended))
        remember(runs)
        for i, outcome in ipairs(outcomes) do
            local entry = outcome[5]
            if owned[i] and entry ~= '' then
                remember_entry(entry, outcome[4], outcome[6], now)
                free_slot(entry, ids[i])
            end
        end
        tell_waiters(ended, now)
    end
end

local taken = {}
local n = tonumber(ARGV[3])
if n > 0 then
    local queues = {}
    for i = 6, #ARGV do queues[#queues + 1] = ARGV[i] end
    taken = take_batch(session, queues, n, tonumber(ARGV[4]), now, ARGV[5] == '1')
end
return { 'OK', counter, now_us, refused, taken }
