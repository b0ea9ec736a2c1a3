-- Puts runs for past due times of an entry on its delayed set, spaced as the caller says.
--
-- Guarantee: no mark moves, and no due time is settled or consumed. A run that has not ended is not started a second time, whichever
-- backfill asks for it; a repeat of the call after a lost reply adds nothing and is answered as before. The first write needs memory,
-- so a full Redis refuses cleanly.
--
-- KEYS  1–12 core · 13 call · 14 backfills · 15 what is known of this one · 16 its runs
-- ARGV  1 how long the call id is remembered, in ms · 2 id of the backfill · 3 what is known of it, as JSON
--       4 when it is forgotten, in ms · 5 how many backfills are kept · 6 a line for the audit log, or "" · 7 queue
--       then for each run: id, body, due time, moment
-- Reply for each run "1", or "0" if it has not ended: one text

--@include core ready note

if not redis.call('SET', KEYS[13], '', 'PX', ARGV[1], 'NX') then return redis.call('GET', KEYS[13]) end

local now = server_time()
local queue, forget = ARGV[7], tonumber(ARGV[4])
local answers, moments, runs, results = {}, {}, {}, {}
for i = 8, #ARGV, 4 do
    local id = ARGV[i]
    local is_fresh = redis.call('HSETNX', MESSAGES, id, ARGV[i + 1])
    answers[#answers + 1] = is_fresh
    if is_fresh == 1 then
        moments[#moments + 1], moments[#moments + 2] = ARGV[i + 3], id
        runs[#runs + 1], runs[#runs + 2] = ARGV[i + 2], id
        results[#results + 1] = PREFIX .. 'r:' .. id -- of an earlier backfill of the same due time
    end
end
if #runs > 0 then
    redis.call('ZADD', delayed_key(queue), unpack(moments))
    redis.call('SADD', QUEUES, queue)
    redis.call('DEL', unpack(results))
    redis.call('ZADD', KEYS[16], unpack(runs))
    redis.call('PEXPIREAT', KEYS[16], forget)
    redis.call('SET', KEYS[15], ARGV[3], 'PXAT', forget)
    redis.call('ZADD', KEYS[14], forget, ARGV[2])
    redis.call('ZREMRANGEBYSCORE', KEYS[14], '-inf', now)
    redis.call('ZREMRANGEBYRANK', KEYS[14], 0, -1 - tonumber(ARGV[5]))
    local earliest = math.huge
    for i = 1, #moments, 2 do earliest = math.min(earliest, tonumber(moments[i])) end
    wake_for(queue, earliest, now)
    note_change(ARGV[6], now, 0)
end
local reply = table.concat(answers)
redis.call('SET', KEYS[13], reply, 'PX', ARGV[1])
return reply
