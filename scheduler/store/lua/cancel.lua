-- Cancels a run: ends it where it waits, or asks the session that holds it.
--
-- A fire that is armed for a moment to come is revoked, and stays armed as one to be skipped, with an order that says so: promotion
-- gives its due time its outcome. Were it taken away, an edit or a pause before that moment would bring it back (P2).
--
-- KEYS  1–12 core
-- ARGV  1 id · 2 "1" to terminate it if it runs already · 3 who asks, 4 why · 5 its line in the audit log, as JSON, or ""
-- Reply "REVOKED", "REQUESTED" (takes effect at the holder's next renewal, for which we ring), "ENDED", "UNKNOWN"

--@include core header ready line end note

endings()

local id, by, why = ARGV[1], ARGV[3], ARGV[4]
local body = redis.call('HGET', MESSAGES, id)
if not body then return redis.call('EXISTS', PREFIX .. 'r:' .. id) == 1 and 'ENDED' or 'UNKNOWN' end

redis.call('HDEL', SLOTS, '') -- a first write that needs no memory
local now = server_time()
local h = parse(body)

local function noted(revision)
    local of_entry = h and h.entry ~= '' and '{"entry":' .. cjson.encode(h.entry) .. ',' or '{'
    note_change(ARGV[5] == '' and '' or of_entry .. string.sub(ARGV[5], 2), now, revision)
end

-- The entry's revision grows: a change that was worked out before must not give the fire its old bytes back.
local function order_skip()
    local orders = redis.call('HGET', PREFIX .. 'skipped', h.entry)
    orders = orders and cjson.decode(orders) or {}
    orders[#orders + 1] = { h.due, now, by, why ~= '' and why or 'run cancelled' }
    redis.call('HSET', PREFIX .. 'skipped', h.entry, cjson.encode(orders))
    local revision = redis.call('HINCRBY', PREFIX .. 'meta', 'revision', 1)
    local mark = string.match(redis.call('HGET', PREFIX .. 'marks', h.entry) or '', ' (%-?%d+)$') or '0'
    redis.call('HSET', PREFIX .. 'marks', h.entry, string.format('%d %s', revision, mark))
    redis.call('ZADD', PREFIX .. 'changes', revision, h.entry)
    if redis.call('LLEN', PREFIX .. 'nudge') == 0 then redis.call('RPUSH', PREFIX .. 'nudge', '1') end
    return revision
end

for _, session in ipairs(redis.call('HKEYS', SESSIONS)) do
    if redis.call('HEXISTS', PREFIX .. 's:' .. session .. ':held', id) == 1 then
        redis.call('HSET', PREFIX .. 's:' .. session .. ':cancel', id, ARGV[2])
        redis.call('PUBLISH', PREFIX .. 'bell:' .. session, '1')
        noted(0)
        return 'REQUESTED'
    end
end

if h and has(h.flags, FLAG_FIRE) and h.due > now and redis.call('ZSCORE', delayed_key(h.queue), id) then
    if h.expires == EXPIRES_SKIPPED and redis.call('EXISTS', PREFIX .. 'r:' .. id) == 1 then return 'ENDED' end
    local revision = 0
    if h.expires ~= EXPIRES_SKIPPED then
        redis.call('HSET', MESSAGES, id, string.sub(body, 1, 22) .. struct.pack('<d', EXPIRES_SKIPPED) .. string.sub(body, 31))
        redis.call('ZADD', delayed_key(h.queue), h.due, id)
        revision = order_skip()
    end
    if not has(h.flags, FLAG_IGNORE_RESULT) then
        redis.call('SET', PREFIX .. 'r:' .. id, cjson.encode({ state = 'REVOKED', done_ms = now }), 'PX',
            math.max(1000, h.result_ttl_s * 1000))
    end
    tell_waiters({ id }, now)
    noted(revision)
    return 'REVOKED'
end

local unpromoted
if h then
    local waits = redis.call('ZREM', delayed_key(h.queue), id) == 1
    if redis.call('HGET', WAITING, h.entry) == id then
        redis.call('HDEL', WAITING, h.entry)
        waits = true
    end
    take_out_of_ready(h, id)
    if has(h.flags, FLAG_BACKFILL) then redis.call('ZREM', line_key(h.entry), id) end
    if waits and has(h.flags, FLAG_FIRE) then
        unpromoted = 'withdrawn'
        count_outcome(h.entry, unpromoted, 1)
    end
end
end_here(id, body, 'REVOKED', '', now, unpromoted)
noted(0)
return 'REVOKED'
