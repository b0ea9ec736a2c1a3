-- Names for the keys that every script of the data plane gets first (Keys.core), and the two clocks of a script.

local MESSAGES, TRIES, SESSIONS, SLOTS, WAITING, PROMOTED, LAST, RUNS, WAITED, DEAD, DEAD_MESSAGES, QUEUES =
    unpack(KEYS, 1, 12)
local PREFIX = string.sub(MESSAGES, 1, -9) -- without "messages"; what is found inside is named from it

-- Redis' own time: whole milliseconds, and microseconds for callers that correct their clocks.
local function server_time()
    local t = redis.call('TIME')
    return t[1] * 1000 + math.floor(t[2] / 1000), t[1] * 1000000 + t[2]
end
