-- ARGV: group, position, consumer, attempt, reason.
if not leased(ARGV[1], ARGV[2], ARGV[3], ARGV[4]) then return 0 end
bury(ARGV[1], ARGV[2], ARGV[4], ARGV[5])
return 1
