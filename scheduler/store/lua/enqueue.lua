-- Puts calls on their queues, once per call id.
--
-- Guarantee: a retry after a lost reply adds nothing and is answered as before (the call id is remembered for longer than the
-- retry deadline); an id that is alive is refused. The first write needs memory, so a full Redis refuses cleanly.
--
-- Where a queue may be full it leaves everything as it is: admit.lua looks closer.
--
-- KEYS  1 call · 2 messages · 3 queues
-- ARGV  1 how long the call id is remembered, in ms; then for each message: id, body, queue, moment in ms (0: now), priority
-- Reply for each message "1", or "0" if its id is alive: one text; or "LIMITED"

local PREFIX = string.sub(KEYS[2], 1, -9)
--@include ready

if redis.call('EXISTS', QUEUE_LIMITS) == 1 then
    for i = 4, #ARGV, 5 do
        local limits = (i == 4 or ARGV[i] ~= ARGV[i - 5]) and redis.call('HGET', QUEUE_LIMITS, ARGV[i])
        if limits and string.sub(limits, 1, 1) ~= '-' then return 'LIMITED' end
    end
end
if not redis.call('SET', KEYS[1], '', 'PX', ARGV[1], 'NX') then return redis.call('GET', KEYS[1]) end

local answers, ready, delayed = {}, {}, {} -- ready: queue → priority → ids; delayed: queue → moments and ids
for i = 2, #ARGV, 5 do
    local id, queue, at = ARGV[i], ARGV[i + 2], ARGV[i + 3]
    local is_fresh = redis.call('HSETNX', KEYS[2], id, ARGV[i + 1])
    answers[#answers + 1] = is_fresh
    if is_fresh == 1 and at ~= '0' then
        local some = delayed[queue] or {}
        some[#some + 1], some[#some + 2] = at, id
        delayed[queue] = some
    elseif is_fresh == 1 then
        local levels = ready[queue] or {}
        local some = levels[ARGV[i + 4]] or {}
        some[#some + 1] = id
        levels[ARGV[i + 4]], ready[queue] = some, levels
    end
end
for queue, levels in pairs(ready) do
    for priority, ids in pairs(levels) do push_ready(queue, tonumber(priority), ids, false) end
    redis.call('SADD', KEYS[3], queue)
    wake(queue)
end
for queue, some in pairs(delayed) do
    redis.call('ZADD', delayed_key(queue), unpack(some))
    redis.call('SADD', KEYS[3], queue)
    local t, earliest = redis.call('TIME'), math.huge
    for i = 1, #some, 2 do earliest = math.min(earliest, tonumber(some[i])) end
    wake_for(queue, earliest, t[1] * 1000 + math.floor(t[2] / 1000))
end
local reply = table.concat(answers)
redis.call('SET', KEYS[1], reply, 'PX', ARGV[1])
return reply
