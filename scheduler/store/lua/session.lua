-- The session's lease. Needs core.lua.

-- Raises the counter of `session` and returns it, or nil if the session was reclaimed: then nothing may be written.
local function renewed(session)
    if redis.call('HEXISTS', SESSIONS, session) == 0 then return nil end
    redis.call('HDEL', SESSIONS, '') -- a first write that needs no memory: the ones below pass on a full Redis too
    return redis.call('HINCRBY', SESSIONS, session, 1)
end

local function held_key(session)
    return PREFIX .. 's:' .. session .. ':held'
end

local function cancels_key(session)
    return PREFIX .. 's:' .. session .. ':cancel'
end
