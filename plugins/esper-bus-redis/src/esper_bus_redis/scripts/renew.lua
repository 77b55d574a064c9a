-- ARGV: group, lease in milliseconds, then position, consumer, attempt of each. Returns the positions still leased.
local found, time = {}, now()
for index = 3, #ARGV, 3 do
  if leased(ARGV[1], ARGV[index], ARGV[index + 1], ARGV[index + 2]) then
    redis.call('ZADD', of(ARGV[1], 'due'), text(time + tonumber(ARGV[2])), ARGV[index])
    found[#found + 1] = tonumber(ARGV[index])
  end
end
return found
