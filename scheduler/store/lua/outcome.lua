-- Due times that do not become a run: their outcome is recorded and counted (P2). Needs core.lua, end.lua.

local function count_outcome(entry, outcome, n)
    local key = PREFIX .. 'e:' .. entry .. ':counts'
    if redis.call('HINCRBY', key, outcome, n) == n and redis.call('HEXISTS', PREFIX .. 'registry', entry) == 0 then
        redis.call('PEXPIRE', key, REMOVED_KEPT_MS)
    end
end

-- Records that `n` due times from `from` to `to` were not fired. Neighbours with the same reason share one record in the
-- ring of the entry: an overlap that lasts for an hour must not push the last real run out of it.
local function record_skip(entry, task, outcome, from, to, n, id, now)
    count_outcome(entry, outcome, n)
    local run = { id = id, entry = entry, task = task, outcome = outcome, due_ms = from, to_ms = to, count = n,
        finished_ms = now }
    remember({ cjson.encode(run) })
    local key = PREFIX .. 'e:' .. entry .. ':runs'
    local newest = redis.call('LINDEX', key, -1)
    if newest then
        local last = cjson.decode(newest)
        if last.outcome == outcome and not last.state and (last.to_ms or 0) <= from then
            last.to_ms, last.count, last.finished_ms = to, (last.count or 1) + n, now
            redis.call('LSET', key, -1, cjson.encode(last))
            return
        end
    end
    redis.call('RPUSH', key, cjson.encode(run))
    redis.call('LTRIM', key, -ENTRY_RUNS_MAX, -1)
    if redis.call('HEXISTS', PREFIX .. 'registry', entry) == 0 then redis.call('PEXPIRE', key, REMOVED_KEPT_MS) end
end
