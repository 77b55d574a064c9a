-- ARGV: group, then position, consumer, attempt of each message. Returns how many were still leased.
local group, positions, infos, finished = ARGV[1], {}, {}, {}
for index = 2, #ARGV, 3 do
  positions[#positions + 1] = ARGV[index]
  infos[#infos + 1] = ARGV[index + 2] .. '|' .. ARGV[index + 1]
end
local at, seen = 0, {}
each_part(positions, function(...)
  for index, info in ipairs(redis.call('HMGET', of(group, 'info'), ...)) do
    local position = select(index, ...)
    if info == infos[at + index] and not seen[position] then
      seen[position] = true
      finished[#finished + 1] = position
    end
  end
  at = at + select('#', ...)
end)
finish(group, finished)
return #finished
