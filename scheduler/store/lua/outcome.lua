-- Due times that do not become a run: their outcome is recorded and counted (P2). Needs core.lua, end.lua.

-- Records that `n` due times from `from` to `to` were not fired. `more` says what else is known: next (the due time after them),
-- holder (of the slot), note. Neighbours with the same reason share one record in the ring of the entry: an overlap that lasts
-- for an hour must not push the last real run out of it. Nothing lies between them, so a record holds for each due time in it.
-- Of an entry whose runs are used up, the ring of the namespace gets only the first: it goes on for ever.
local function record_skip(entry, task, outcome, from, to, n, id, now, more)
    endings()
    count_outcome(entry, outcome, n)
    more = more or {}
    local run = { id = id, entry = entry, task = task, outcome = outcome, due_ms = from, to_ms = to, count = n,
        finished_ms = now, next_ms = more.next, holder = more.holder, error = more.note }
    local text = cjson.encode(run)
    local key = entry_runs_key(entry)
    local newest = redis.call('LINDEX', key, -1)
    local last = newest and cjson.decode(newest)
    local joins = last and last.outcome == outcome and not last.state and last.next_ms == from
        and last.holder == run.holder and last.error == run.error
    if not joins or outcome ~= 'max_runs' then remember({ text }) end
    if joins then
        last.to_ms, last.count, last.finished_ms, last.next_ms = to, (last.count or 1) + n, now, run.next_ms
        redis.call('LSET', key, -1, cjson.encode(last))
        return
    end
    redis.call('RPUSH', key, text)
    redis.call('LTRIM', key, -entry_runs_max(), -1)
    if redis.call('HEXISTS', PREFIX .. 'registry', entry) == 0 then redis.call('PEXPIRE', key, REMOVED_KEPT_MS) end
end
