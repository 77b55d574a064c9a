-- ARGV: group, position, consumer, attempt, delay in milliseconds, the attempts that are left to count.
if not leased(ARGV[1], ARGV[2], ARGV[3], ARGV[4]) then return 0 end
redis.call('HSET', of(ARGV[1], 'info'), ARGV[2], ARGV[6] .. '|')
redis.call('ZADD', of(ARGV[1], 'due'), text(now() + tonumber(ARGV[5])), ARGV[2])
return 1
