-- ARGV: group, consumer, limit, lease in milliseconds, attempts. Returns position, key, body, attempt of each message.
local group, consumer, limit, lease, attempts = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local time, due, info, found, count = now(), of(group, 'due'), of(group, 'info'), {}, 0
join(group)

local function give(position, key, body, attempt)
  put(group, position, key, attempt, consumer, time + lease)
  found[#found + 1] = position
  found[#found + 1] = key
  found[#found + 1] = body
  found[#found + 1] = attempt
  count = count + 1
end

local ready = redis.call('ZRANGEBYSCORE', due, '-inf', text(time), 'LIMIT', 0, 1000)
table.sort(ready, function(one, other) return tonumber(one) < tonumber(other) end)
local taken, again = {}, false
for _, position in ipairs(ready) do
  if count >= limit or again then break end
  local key = redis.call('HGET', of(group, 'keys'), position) or ''
  local first = key == '' or redis.call('ZRANK', of(group, 'key:' .. key), position) == (taken[key] or 0)
  local attempt = tonumber(string.match(redis.call('HGET', info, position), '^%d+'))
  if first then
    if attempt >= attempts then
      bury(group, position, attempt, 'its consumer died, or took too long, ' .. attempt .. ' times')
    elseif attempt == 0 or count == 0 then
      local _, body = content(group, position)
      redis.pcall('XCLAIM', stream, group, consumer, 0, entry(position), 'JUSTID')
      give(tonumber(position), key, body, attempt + 1)
      taken[key] = (taken[key] or 0) + 1
      again = attempt > 0
    else
      break
    end
  end
end

if count < limit and not again then
  local read = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', limit - count, 'STREAMS', stream, '>')
  local busy = {}
  for _, item in ipairs(read and read[1][2] or {}) do
    local position, key, body = tonumber(string.match(item[1], '^%d+')), item[2][2], item[2][4]
    if key ~= '' and busy[key] == nil then busy[key] = redis.call('EXISTS', of(group, 'key:' .. key)) == 1 end
    if busy[key] then put(group, position, key, 0, '', HELD) else give(position, key, body, 1) end
  end
end
return found
