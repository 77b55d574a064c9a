-- KEYS: the stream of the dead letter. ARGV: the letter's id. The entry may have been trimmed, so its body is kept apart.
local found = redis.call('XRANGE', 'oona:dead', ARGV[1], ARGV[1])
if not found[1] then return 0 end
local letter = {}
for index = 1, #found[1][2], 2 do letter[found[1][2][index]] = found[1][2][index + 1] end
join(letter.group)
put(letter.group, letter.position, letter.key, 0, '', 0)
redis.call('HSET', of(letter.group, 'requeued'), letter.position, letter.body)
return redis.call('XDEL', 'oona:dead', ARGV[1])
