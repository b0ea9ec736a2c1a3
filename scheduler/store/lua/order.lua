--- order
-- Gives an order to workers: each finds it at its next renewal, which a ring at its bell brings forward.
--
-- Guarantee: only an open session is given an order, which goes with the session; renew takes it off, so it is read once at most.
--
-- KEYS  1–12 core
-- ARGV  1 its line in the audit log, as JSON, or "" · 2 the order, as JSON · 3… sessions
-- Reply for each session "given", "gone", or "full" (it has not read the last hundred)

--@include core note

local ORDERS_MAX = 100

local now = server_time()
local fates, given = {}, false
for i = 3, #ARGV do
    local orders = PREFIX .. 's:' .. ARGV[i] .. ':orders'
    if redis.call('HEXISTS', SESSIONS, ARGV[i]) == 0 then
        fates[#fates + 1] = 'gone'
    elseif redis.call('LLEN', orders) >= ORDERS_MAX then
        fates[#fates + 1] = 'full'
    else
        redis.call('RPUSH', orders, ARGV[2])
        redis.call('PUBLISH', PREFIX .. 'bell:' .. ARGV[i], '1')
        fates[#fates + 1] = 'given'
        given = true
    end
end
if given then note_change(ARGV[1], now, 0) end
return fates
