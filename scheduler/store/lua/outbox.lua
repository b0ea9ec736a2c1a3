-- What is to be sent to somebody outside: a line for each address, oldest first, and a set of the lines that are not empty,
-- scored by when each is to be tried next. Whoever takes a line moves its moment ahead; if he dies, another comes to it then.

local LOG_MAX = 500

local function redis_ms()
    local t = redis.call('TIME')
    return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function line_key(set, name)
    return set .. ':' .. name
end

-- Adds `item` to the line of `name`; its oldest go when there are more than `line_max`. How many went.
local function put_out(set, name, item, line_max, now)
    local key = line_key(set, name)
    local dropped = math.max(0, redis.call('RPUSH', key, item) - line_max)
    if dropped > 0 then redis.call('LTRIM', key, dropped, -1) end
    redis.call('ZADD', set, 'NX', now, name)
    return dropped
end

-- Keeps what was told, and what could not be, for people.
local function log_notice(log, notice)
    redis.call('RPUSH', log, notice)
    redis.call('LTRIM', log, -LOG_MAX, -1)
end
