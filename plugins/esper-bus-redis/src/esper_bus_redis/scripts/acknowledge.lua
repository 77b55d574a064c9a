-- ARGV: group, then position, consumer, attempt of each message. Returns how many were still leased.
local group, finished, keys = ARGV[1], 0, {}
for index = 2, #ARGV, 3 do
  if leased(group, ARGV[index], ARGV[index + 1], ARGV[index + 2]) then
    keys[finish(group, ARGV[index])] = true
    finished = finished + 1
  end
end
for key in pairs(keys) do release(group, key) end
return finished
