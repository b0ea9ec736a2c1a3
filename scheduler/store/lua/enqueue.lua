-- Puts calls on their queues, once per call id.
--
-- Guarantee: a retry after a lost reply adds nothing (the call id is remembered for longer than the retry deadline); an id
-- that is alive is refused. The first write needs memory, so a full Redis refuses cleanly.
--
-- KEYS  1 call · 2 messages · 3 queues
-- ARGV  1 how long the call id is remembered, in ms; then for each message: id, body, queue, moment in ms (0: now), priority
-- Reply {"OK" or "REPEATED", then for each message 1, or 0 if its id is alive}

local PREFIX = string.sub(KEYS[2], 1, -9)
--@include ready

local call = redis.call('SET', KEYS[1], '1', 'PX', ARGV[1], 'NX')
local reply = { call and 'OK' or 'REPEATED' }
local seen, now = {}, nil
for i = 2, #ARGV, 5 do
    local id, queue, at, priority = ARGV[i], ARGV[i + 2], tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])
    local fresh = 1
    if call then
        fresh = redis.call('HSETNX', KEYS[2], id, ARGV[i + 1])
        if fresh == 1 then
            if at > 0 then
                redis.call('ZADD', delayed_key(queue), at, id)
                if not now then
                    local t = redis.call('TIME')
                    now = t[1] * 1000 + math.floor(t[2] / 1000)
                end
                wake_for(queue, at, now)
            else
                push_ready(queue, priority, { id }, false)
            end
            if not seen[queue] or (at == 0 and seen[queue] ~= 'ready') then
                seen[queue] = at == 0 and 'ready' or 'delayed'
            end
        end
    end
    reply[#reply + 1] = fresh
end
for queue, kind in pairs(seen) do
    redis.call('SADD', KEYS[3], queue)
    if kind == 'ready' then wake(queue) end
end
return reply
