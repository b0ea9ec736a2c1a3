-- Puts calls on their queues as enqueue.lua does, where unique keys and bounds of queues are looked at.
--
-- Guarantee: as there. Beyond it, a message whose unique key a live run has, or one for a queue that is full and refuses, is not
-- accepted; nothing else is known of it afterwards. What was accepted always fits later (P5).
--
-- A bound counts what is ready for a call that is to start at once, and what is delayed as well for one that is to start later (a
-- retry, a fire or a backfill is never kept out: see promote_due.lua for fires). A queue that drops its oldest accepts every call that
-- is to start at once.
--
-- KEYS  1–12 core · 13 call
-- ARGV  1 how long the call id is remembered, in ms; then for each message: id, body, queue, moment in ms (0: now), priority
-- Reply one text: for each message "1", "0" if its id is alive, "u" if a run has its unique key, "f" if its queue is full; then a
--       blank and a word for each "u", the id of that run, and for each "f", how many wait there and how many may: "100/100"

--@include core header ready line end limits

endings()

if not redis.call('SET', KEYS[13], '', 'PX', ARGV[1], 'NX') then return redis.call('GET', KEYS[13]) end

local now = server_time()
local states = {} -- queue → its bound, what waits there, what is put there

local function state_of(queue)
    local state = states[queue]
    if not state then
        local length_max, overflow = limits_of(queue)
        state = { max = length_max, drops = overflow == 'drop_oldest', levels = {}, delayed = {}, came = 0, earliest = math.huge }
        if length_max then
            state.ready_n, state.delayed_n = select(2, all_ready(queue)), redis.call('ZCARD', delayed_key(queue))
        end
        states[queue] = state
    end
    return state
end

-- How many wait in a queue that has no room for one more, which is `later` to start or at once; nil where there is room.
local function full(state, later)
    if not state.max then return nil end
    local n = state.drops and (later and state.delayed_n or 0) or state.ready_n + (later and state.delayed_n or 0)
    return n >= state.max and n or nil
end

local answers, words = {}, {}
for i = 2, #ARGV, 5 do
    local id, body, queue, at = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
    local h = has_mark(body, UNIQUE) and parse(body) or nil -- what is cut short is taken, and buried by who runs it
    local unique = h and h.unique
    local state, answer = state_of(queue), '1'
    local by = unique and unique_holder(unique, id, now)
    local full_n = full(state, at > 0)
    if redis.call('HEXISTS', MESSAGES, id) == 1 then
        answer = '0'
    elseif by then
        answer, words[#words + 1] = 'u', ' ' .. by
    elseif full_n then
        answer, words[#words + 1] = 'f', ' ' .. full_n .. '/' .. state.max
    else
        redis.call('HSET', MESSAGES, id, body)
        if unique then take_unique(unique, id, now, at) end
        if at > 0 then
            state.delayed[#state.delayed + 1], state.delayed[#state.delayed + 2] = ARGV[i + 3], id
            state.earliest = math.min(state.earliest, at)
            if state.max then state.delayed_n = state.delayed_n + 1 end
        else
            local level = tonumber(ARGV[i + 4])
            state.levels[level] = state.levels[level] or {}
            table.insert(state.levels[level], id)
            state.came = state.came + 1
            if state.max then state.ready_n = state.ready_n + 1 end
        end
    end
    answers[#answers + 1] = answer
end
for queue, state in pairs(states) do
    for level, ids in pairs(state.levels) do push_ready(queue, level, ids, false) end
    if #state.delayed > 0 then redis.call('ZADD', delayed_key(queue), unpack(state.delayed)) end
    if state.came > 0 or #state.delayed > 0 then redis.call('SADD', QUEUES, queue) end
    -- Twice as many as came: a bound that was lowered is reached soon, and no call takes long.
    if state.max and state.drops then drop_oldest(queue, math.min(state.ready_n - state.max, 2 * state.came), state.max, now) end
    if state.came > 0 then wake(queue) end
    if #state.delayed > 0 then wake_for(queue, state.earliest, now) end
end
local reply = table.concat(answers) .. table.concat(words)
redis.call('SET', KEYS[13], reply, 'PX', ARGV[1])
return reply
