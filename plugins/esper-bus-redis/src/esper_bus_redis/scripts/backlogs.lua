-- KEYS: stream, its counter. Returns group, waiting, pending of each group; of none: "", length, 0.
local groups = redis.pcall('XINFO', 'GROUPS', stream)
if groups.err then return {} end
if #groups == 0 then return {'', redis.call('XLEN', stream), 0} end
local last, oldest = tonumber(redis.call('GET', KEYS[2]) or '0'), redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)
local first = oldest[1] and tonumber(string.match(oldest[1][1], '^%d+')) or last + 1
local found = {}
for _, fields in ipairs(groups) do
  local group = {}
  for index = 1, #fields, 2 do group[fields[index]] = fields[index + 1] end
  local read = tonumber(string.match(group['last-delivered-id'], '^%d+'))
  found[#found + 1] = group.name
  found[#found + 1] = last - math.max(read, first - 1)
  found[#found + 1] = redis.call('ZCARD', of(group.name, 'due'))
end
return found
