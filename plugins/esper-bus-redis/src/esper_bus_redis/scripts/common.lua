-- What the scripts share. KEYS[1] is the stream. A message's entry has the id POSITION-0, positions count from 1.
-- Of each group G, under STREAM:G:
--   due   sorted set: position -> when it can be handed out, in milliseconds; HELD: it waits for its key
--   info  hash: position -> attempts so far, "|", the consumer that holds the lease
--   keys  hash: position -> key
--   key:K sorted set: positions of this key that are not finished
-- All of them are also in the group's list of pending entries, until they are finished.
local HELD = 1e18
local stream = KEYS[1]

local function of(group, name) return stream .. ':' .. group .. ':' .. name end
local function entry(position) return string.format('%.0f-0', position) end

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function text(number) return string.format('%.0f', number) end

local function content(group, position)
  local found = redis.call('XRANGE', stream, entry(position), entry(position))
  if found[1] then return found[1][2][2], found[1][2][4] end
  return redis.call('HGET', of(group, 'keys'), position) or '', redis.call('HGET', of(group, 'requeued'), position)
end

local function join(group)
  redis.call('SADD', 'oona:streams', stream)
  redis.pcall('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM')
end

local function put(group, position, key, attempt, consumer, due)
  redis.call('ZADD', of(group, 'due'), text(due), position)
  redis.call('HSET', of(group, 'info'), position, attempt .. '|' .. consumer)
  if key ~= '' then
    redis.call('HSET', of(group, 'keys'), position, key)
    redis.call('ZADD', of(group, 'key:' .. key), position, position)
  end
end

-- Let go of what waited for a key, unless something else that comes first is still pending.
local function release(group, key)
  if key == '' then return end
  local due, waiting = of(group, 'due'), redis.call('ZRANGE', of(group, 'key:' .. key), 0, 99)
  local first = waiting[1] and redis.call('ZSCORE', due, waiting[1])
  if not first or tonumber(first) < HELD then return end
  for _, position in ipairs(waiting) do
    if tonumber(redis.call('ZSCORE', due, position)) >= HELD then redis.call('ZADD', due, 0, position) end
  end
end

local function finish(group, position)
  local key = redis.call('HGET', of(group, 'keys'), position) or ''
  redis.call('ZREM', of(group, 'due'), position)
  redis.call('HDEL', of(group, 'info'), position)
  redis.call('HDEL', of(group, 'requeued'), position)
  if key ~= '' then
    redis.call('HDEL', of(group, 'keys'), position)
    redis.call('ZREM', of(group, 'key:' .. key), position)
  end
  redis.call('XACK', stream, group, entry(position))
  return key
end

local function bury(group, position, attempts, reason)
  local key, body = content(group, position)
  redis.call('XADD', 'oona:dead', '*', 'stream', stream, 'group', group, 'position', position, 'key', key,
    'body', body or '', 'reason', reason, 'attempts', attempts, 'at', text(now()))
  release(group, finish(group, position))
end

local function leased(group, position, consumer, attempt)
  return redis.call('HGET', of(group, 'info'), position) == attempt .. '|' .. consumer
end
