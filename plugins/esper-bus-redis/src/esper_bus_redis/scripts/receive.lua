-- ARGV: group, consumer, limit, lease in milliseconds, attempts. Returns position, key, body,
-- attempt, and whose lease has ended, of each message.
local group, consumer, limit, lease, attempts = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local time, due, info, found, count = now(), of(group, 'due'), of(group, 'info'), {}, 0
join(group)

local function give(position, key, body, attempt, before)
  found[#found + 1] = position
  found[#found + 1] = key
  found[#found + 1] = body
  found[#found + 1] = attempt
  found[#found + 1] = before
  count = count + 1
end

local most = limit
-- See `batch_limit` of esper_oona.
local function batch_limit(attempt)
  if attempt == 0 then return limit end
  return attempt >= attempts - 1 and 1 or math.max(1, math.floor(limit / 4 ^ attempt))
end

local taken = {}
-- Whether the message is no longer among those that can be handed out: it was given, or given up.
local function take(position, key, so_far)
  local attempt, before = string.match(so_far, '^(%d+)|(.*)$')
  attempt = tonumber(attempt)
  if attempt >= attempts then
    bury(group, position, attempt, 'its consumer died, or took too long, ' .. attempt .. ' times')
    return true
  end
  local fits = math.min(most, batch_limit(attempt))
  if count >= fits then
    most = count
    return false
  end
  most = fits
  local _, body = content(group, position)
  redis.pcall('XCLAIM', stream, group, consumer, 0, entry(position), 'JUSTID')
  put(group, position, key, attempt + 1, consumer, time + lease)
  give(tonumber(position), key, body, attempt + 1, before)
  taken[key] = (taken[key] or 0) + 1
  return true
end

-- Hand out what is due within a range, none before an earlier one of its key, however many of those there are.
local function offer(from, to)
  local left = 0
  while count < most do
    local page = redis.call('ZRANGEBYSCORE', due, from, to, 'LIMIT', left, 1000)
    if #page == 0 then return end
    table.sort(page, function(one, other) return tonumber(one) < tonumber(other) end)
    local keys = redis.call('HMGET', of(group, 'keys'), unpack(page))
    local infos, blocked = redis.call('HMGET', info, unpack(page)), {}
    for index, position in ipairs(page) do
      local key = keys[index] or ''
      if key ~= '' and not blocked[key] then
        blocked[key] = redis.call('ZRANK', of(group, 'key:' .. key), position) ~= (taken[key] or 0)
      end
      if count >= most or blocked[key] or not take(position, key, infos[index]) then left = left + 1 end
    end
  end
end

-- Leases that have ended come first: however much was let go, it does not keep them waiting.
offer(text(OLDEST), text(time))
offer('-inf', '(' .. text(OLDEST))

if count < most then
  local read = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', most - count, 'STREAMS', stream, '>')
  local busy, rows = {}, {}
  for _, item in ipairs(read and read[1][2] or {}) do
    local position, key, body = tonumber(string.match(item[1], '^%d+')), item[2][2], item[2][4]
    if key ~= '' and busy[key] == nil then busy[key] = redis.call('EXISTS', of(group, 'key:' .. key)) == 1 end
    if busy[key] then
      rows[#rows + 1] = {position, key, 0, '', HELD}
    else
      rows[#rows + 1] = {position, key, 1, consumer, time + lease}
      give(position, key, body, 1, '')
    end
  end
  put_all(group, rows)
end
return found
