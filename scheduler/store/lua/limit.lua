-- Puts the limits of declared queues in force.
--
-- Guarantee: all of them at once. The first write needs no memory: a full Redis must not keep a beat or a worker from its work.
--
-- KEYS  1 queue_limits
-- ARGV  1 "1" to add only what is missing; then for each queue: its name, its limits ("" for none)
-- Reply "OK"

local key, only_missing = KEYS[1], ARGV[1] == '1'
redis.call('HDEL', key, '')
for i = 2, #ARGV, 2 do
    local queue, limits = ARGV[i], ARGV[i + 1]
    if only_missing then
        if limits ~= '' then redis.call('HSETNX', key, queue, limits) end
    elseif limits == '' then
        redis.call('HDEL', key, queue)
    else
        redis.call('HSET', key, queue, limits)
    end
end
return 'OK'
