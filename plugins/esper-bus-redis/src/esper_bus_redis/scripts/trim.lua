-- KEYS: stream, its counter. ARGV: how many to keep. Returns how many were dropped.
local groups = redis.pcall('XINFO', 'GROUPS', stream)
if groups.err or #groups == 0 then return 0 end
local first = tonumber(redis.call('GET', KEYS[2]) or '0') - tonumber(ARGV[1]) + 1
for _, fields in ipairs(groups) do
  local group = {}
  for index = 1, #fields, 2 do group[fields[index]] = fields[index + 1] end
  first = math.min(first, tonumber(string.match(group['last-delivered-id'], '^%d+')) + 1)
  local pending = redis.call('XPENDING', stream, group.name)
  if pending[2] then first = math.min(first, tonumber(string.match(pending[2], '^%d+'))) end
end
if first <= 1 then return 0 end
return redis.call('XTRIM', stream, 'MINID', entry(first))
