-- Arms fires: puts each on the delayed set of its queue, once, in the name of a term.
--
-- Guarantee: nothing is written unless the term is the current one (P3). A fire is armed only if revision and mark of its
-- entry are exactly what the planner read; arming moves the mark to its due time, so a due time is armed once (P1).
--
-- KEYS  1–12 core · 13 term · 14 marks
-- ARGV  1 number, 2 holder of the term · 3 how many stretches are skipped; for each of these:
--       entry, "revision mark", reason, from, to, count, mark, note or ""; then for each fire (at most 500 together):
--       entry, "revision mark", due, at, id, body, queue
-- Reply {"FENCED", current number}, or {"OK", counter, now in µs, answers}; answers is a text with one letter for each skip,
--       then for each fire: "A" armed · "D" duplicate (the mark has passed it) · "S" stale (the entry has changed)

--@include core header ready line end outcome

local term = redis.call('HMGET', KEYS[13], 'number', 'holder')
if term[1] ~= ARGV[1] or term[2] ~= ARGV[2] then return { 'FENCED', tonumber(term[1] or 0) } end
-- The first write needs memory: a full Redis refuses here, before anything is changed.
local counter = redis.call('HINCRBY', KEYS[13], 'counter', 1)
local now, now_us = server_time()

local first_fire = 4 + 8 * tonumber(ARGV[3])
local states, answers = {}, {}

local function state_of(entry)
    local state = states[entry]
    if state == nil then
        state = redis.call('HGET', KEYS[14], entry) or ''
        states[entry] = state
    end
    return state
end

-- "D" if the mark has passed `due` under the revision that the planner saw, "A" if the mark is what it saw too, else "S".
local function judge(state, seen, due)
    local revision, mark = string.match(state, '^(%d+) (%-?%d+)$')
    if not revision or revision ~= string.match(seen, '^(%d+) ') then return 'S' end
    if tonumber(mark) >= due then return 'D' end
    return state == seen and 'A' or 'S'
end

local function move_mark(entry, state, mark)
    states[entry] = string.match(state, '^(%d+)') .. ' ' .. string.format('%.0f', mark)
end

-- Skips come first: a stretch that is given up lies before the fires that follow it.
for i = 4, first_fire - 1, 8 do
    local entry, seen, mark = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 6])
    local state = state_of(entry)
    local answer = judge(state, seen, mark)
    if answer == 'A' then
        move_mark(entry, state, mark)
        record_skip(entry, '', ARGV[i + 2], tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]), tonumber(ARGV[i + 5]), '', now,
            { note = ARGV[i + 7] ~= '' and ARGV[i + 7] or nil })
    end
    answers[#answers + 1] = answer
end

local bodies, delayed, earliest = {}, {}, {}
for i = first_fire, #ARGV, 7 do
    local entry, due, at, id, queue = ARGV[i], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]), ARGV[i + 4], ARGV[i + 6]
    local state = state_of(entry)
    local answer = judge(state, ARGV[i + 1], due)
    if answer == 'A' then
        move_mark(entry, state, due)
        bodies[#bodies + 1] = id
        bodies[#bodies + 1] = ARGV[i + 5]
        local members = delayed[queue]
        if not members then
            members = {}
            delayed[queue] = members
        end
        members[#members + 1] = ARGV[i + 3]
        members[#members + 1] = id
        if not earliest[queue] or at < earliest[queue] then earliest[queue] = at end
    end
    answers[#answers + 1] = answer
end

if #bodies > 0 then redis.call('HSET', MESSAGES, unpack(bodies)) end
for queue, members in pairs(delayed) do
    redis.call('ZADD', delayed_key(queue), unpack(members))
    redis.call('SADD', QUEUES, queue)
    wake_for(queue, earliest[queue], now)
end
local marks = {}
for entry, state in pairs(states) do
    if state ~= '' then
        marks[#marks + 1] = entry
        marks[#marks + 1] = state
    end
end
if #marks > 0 then redis.call('HSET', KEYS[14], unpack(marks)) end
return { 'OK', counter, now_us, table.concat(answers) }
