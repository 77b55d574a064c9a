-- KEYS: stream, its counter, this publication. ARGV: key, body, key, body ... Returns the first position.
-- A publication that is asked for again, because the first answer was lost, is made once.
local before = redis.call('GET', KEYS[3])
if before then return tonumber(before) end
redis.call('SADD', 'oona:streams', stream)
local last = redis.call('INCRBY', KEYS[2], #ARGV / 2)
local first = last - #ARGV / 2 + 1
for index = 1, #ARGV, 2 do
  redis.call('XADD', stream, entry(first + (index - 1) / 2), 'key', ARGV[index], 'body', ARGV[index + 1])
end
redis.call('SET', KEYS[3], text(first), 'PX', 600000)
return first
