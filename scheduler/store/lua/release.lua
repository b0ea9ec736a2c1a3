-- Gives messages back that this session holds and does not run (any more).
--
-- Guarantee: only what the session holds is moved; each goes to exactly one place (P5).
--
-- KEYS  1–12 core
-- ARGV  1 session · 2 "1" if their child died with them · 3 delay in ms · 4 losses before a message is buried
--       5 how it died, or "" · 6… ids
-- Reply {"LOST"}, or {"OK", counter, how many}

--@include core header ready line end session give_back

local session = ARGV[1]
local counter = renewed(session)
if not counter then return { 'LOST' } end

local now = server_time()
local held = held_key(session)
local ids = {}
for i = 6, #ARGV do
    if redis.call('HDEL', held, ARGV[i]) == 1 then ids[#ids + 1] = ARGV[i] end
end
local lost = ARGV[2] == '1' and { worker = worker_of(PREFIX .. 's:' .. session .. ':info'), how = ARGV[5] }
give_back(ids, cancels_key(session), lost, tonumber(ARGV[3]), tonumber(ARGV[4]), now)
return { 'OK', counter, #ids }
