-- Takes a dead session's messages away from it, a chunk at a time.
--
-- Guarantee: compare-and-set on the counter that the observer saw standing still for the whole lease on its own clock. From
-- the first chunk on the session is fenced: none of its calls writes any more (P3 for workers).
--
-- KEYS  1–12 core · 13 dead_sessions · 14 info, 15 held, 16 cancel requests, 17 orders of the dead session
-- ARGV  1 dead session · 2 the counter that stood still · 3 chunk (at most 500) · 4 losses before a message is buried
-- Reply {"ALIVE"} if the counter has moved, {"MORE", how many}, {"DONE", how many}

--@include core header ready line end give_back

local session = ARGV[1]
local counter = redis.call('HGET', SESSIONS, session)
if counter then
    if counter ~= ARGV[2] then return { 'ALIVE' } end
    redis.call('HDEL', SESSIONS, session)
    redis.call('SADD', KEYS[13], session)
elseif redis.call('SISMEMBER', KEYS[13], session) == 0 then
    return { 'DONE', 0 }
end

local now = server_time()
local chunk = tonumber(ARGV[3])
local ids = {}
local cursor = '0'
repeat
    -- A sparse hash may have nothing in its first buckets.
    local scanned = redis.call('HSCAN', KEYS[15], cursor, 'COUNT', chunk)
    cursor = scanned[1]
    for i = 1, math.min(#scanned[2], 2 * chunk), 2 do ids[#ids + 1] = scanned[2][i] end
until #ids > 0 or cursor == '0'
if #ids > 0 then
    redis.call('HDEL', KEYS[15], unpack(ids))
    local lost = { worker = worker_of(KEYS[14]), how = 'it stopped renewing its lease' }
    give_back(ids, KEYS[16], lost, 0, tonumber(ARGV[4]), now)
end
if redis.call('EXISTS', KEYS[15]) == 1 then return { 'MORE', #ids } end
redis.call('DEL', KEYS[14], KEYS[16], KEYS[17])
redis.call('SREM', KEYS[13], session)
return { 'DONE', #ids }
