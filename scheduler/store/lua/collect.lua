-- Gives out what is to be sent now: a few lines, the first of each.
--
-- Guarantee: a line is given to one caller at a time. What it does not settle within the lease is given out again, so everything
-- is sent at least once, in the order of its line.
--
-- KEYS  1 outbox · 2 its failures · 3 pings · 4 their failures
-- ARGV  1 how many lines of each · 2 how much of each line · 3 lease in ms
-- Reply {now in ms, moment of the next line or -1, for each line {"outbox" or "pings", its name, until when it is the caller's,
--       how often in a row it failed, what is to be sent}}

--@include outbox

redis.call('HDEL', KEYS[2], '') -- a first write that needs no memory
local now = redis_ms()
local reply, next_ms = { now, -1 }, -1
local lease = string.format('%.0f', now + ARGV[3])
for i = 1, 3, 2 do
    local set, failures = KEYS[i], KEYS[i + 1]
    for _, name in ipairs(redis.call('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, ARGV[1])) do
        local items = redis.call('LRANGE', line_key(set, name), 0, ARGV[2] - 1)
        if #items == 0 then
            redis.call('ZREM', set, name)
            redis.call('HDEL', failures, name)
        else
            redis.call('ZADD', set, lease, name)
            local failed = tonumber(redis.call('HGET', failures, name) or 0)
            reply[#reply + 1] = { i == 1 and 'outbox' or 'pings', name, lease, failed, items }
        end
    end
    local head = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
    if head[2] and (next_ms < 0 or tonumber(head[2]) < next_ms) then next_ms = tonumber(head[2]) end
end
reply[2] = next_ms
return reply
