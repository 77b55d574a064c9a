-- What the scripts share. KEYS[1] is the stream. A message's entry has the id POSITION-0, positions count from 1.
-- Of each group G, under STREAM:G:
--   due   sorted set: position -> when it can be handed out, in milliseconds; HELD: it waits for its key; before OLDEST:
--         at once, and the score is its position, so that it comes in its turn
--   info  hash: position -> attempts so far, "|", the consumer that holds the lease
--   keys  hash: position -> key
--   key:K sorted set: positions of this key that are not finished
-- All of them are also in the group's list of pending entries, until they are finished.
local HELD, OLDEST = 1e18, 1e12
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

-- Commands about many messages at once: what a script calls costs more than what the command does. A list is cut into
-- parts, because Lua hands over so many arguments at most.
local PART = 2000
local function each_part(list, command)
  for first = 1, #list, PART do command(unpack(list, first, math.min(first + PART - 1, #list))) end
end

local function append(list, one, other)
  list[#list + 1] = one
  list[#list + 1] = other
end

-- Each row is position, key, attempt, consumer, due.
local function put_all(group, rows)
  local due, info, keys, of_key = {}, {}, {}, {}
  for _, row in ipairs(rows) do
    append(due, text(row[5]), row[1])
    append(info, row[1], row[3] .. '|' .. row[4])
    if row[2] ~= '' then
      append(keys, row[1], row[2])
      of_key[row[2]] = of_key[row[2]] or {}
      append(of_key[row[2]], row[1], row[1])
    end
  end
  each_part(due, function(...) redis.call('ZADD', of(group, 'due'), ...) end)
  each_part(info, function(...) redis.call('HSET', of(group, 'info'), ...) end)
  each_part(keys, function(...) redis.call('HSET', of(group, 'keys'), ...) end)
  for key, its in pairs(of_key) do
    each_part(its, function(...) redis.call('ZADD', of(group, 'key:' .. key), ...) end)
  end
end

local function put(group, position, key, attempt, consumer, due)
  put_all(group, {{position, key, attempt, consumer, due}})
end

-- Let go of what waited for a key, unless something else that comes first is still pending.
local function release(group, key)
  if key == '' then return end
  local due, waiting = of(group, 'due'), redis.call('ZRANGE', of(group, 'key:' .. key), 0, 99)
  local first = waiting[1] and redis.call('ZSCORE', due, waiting[1])
  if not first or tonumber(first) < HELD then return end
  for _, position in ipairs(waiting) do
    if tonumber(redis.call('ZSCORE', due, position)) >= HELD then redis.call('ZADD', due, position, position) end
  end
end

-- Take messages out, and let go of what waited for their keys.
local function finish(group, positions)
  local entries, of_key = {}, {}
  local function note(...)
    for index, key in ipairs(redis.call('HMGET', of(group, 'keys'), ...)) do
      local position = select(index, ...)
      entries[#entries + 1] = entry(position)
      if key then
        of_key[key] = of_key[key] or {}
        table.insert(of_key[key], position)
      end
    end
  end
  each_part(positions, note)
  for _, name in ipairs({'info', 'requeued', 'keys'}) do
    each_part(positions, function(...) redis.call('HDEL', of(group, name), ...) end)
  end
  each_part(positions, function(...) redis.call('ZREM', of(group, 'due'), ...) end)
  each_part(entries, function(...) redis.call('XACK', stream, group, ...) end)
  for key, its in pairs(of_key) do
    each_part(its, function(...) redis.call('ZREM', of(group, 'key:' .. key), ...) end)
    release(group, key)
  end
end

local function bury(group, position, attempts, reason)
  local key, body = content(group, position)
  redis.call('XADD', 'oona:dead', '*', 'stream', stream, 'group', group, 'position', position, 'key', key,
    'body', body or '', 'reason', reason, 'attempts', attempts, 'at', text(now()))
  finish(group, {position})
end

local function leased(group, position, consumer, attempt)
  return redis.call('HGET', of(group, 'info'), position) == attempt .. '|' .. consumer
end
