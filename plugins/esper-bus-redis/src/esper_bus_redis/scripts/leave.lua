-- ARGV: group.
local group = ARGV[1]
redis.pcall('XGROUP', 'DESTROY', stream, group)
for _, key in ipairs(redis.call('HVALS', of(group, 'keys'))) do redis.call('DEL', of(group, 'key:' .. key)) end
redis.call('DEL', of(group, 'due'), of(group, 'info'), of(group, 'keys'), of(group, 'requeued'))
return 1
