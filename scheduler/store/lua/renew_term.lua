-- Renews the term and tells the leader what has changed.
--
-- Guarantee: only the holder of the current term raises its counter.
--
-- KEYS  1 term · 2 meta · 3 leaders
-- ARGV  1 number, 2 holder · 3 age of the last completed tick in ms · 4 fires caught up, once after a win, else ""
-- Reply {"FENCED", current number}, or {"OK", counter, now in µs, registry revision, number whose leader is asked to step down}

local term = redis.call('HMGET', KEYS[1], 'number', 'holder', 'step_down')
if term[1] ~= ARGV[1] or term[2] ~= ARGV[2] then return { 'FENCED', tonumber(term[1] or 0) } end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HDEL', KEYS[1], '') -- a first write that needs no memory: a full Redis must not depose its leader
local counter = redis.call('HINCRBY', KEYS[1], 'counter', 1)
redis.call('HSET', KEYS[1], 'renewed_ms', now, 'ticked_ms', now - tonumber(ARGV[3]))
if ARGV[4] ~= '' then
    local last = redis.call('LINDEX', KEYS[3], -1)
    local record = last and cjson.decode(last)
    if record and record.number == tonumber(ARGV[1]) then
        record.caught_up = tonumber(ARGV[4])
        redis.call('LSET', KEYS[3], -1, cjson.encode(record))
    end
end
return { 'OK', counter, t[1] * 1000000 + t[2], tonumber(redis.call('HGET', KEYS[2], 'revision') or 0), tonumber(term[3] or 0) }
