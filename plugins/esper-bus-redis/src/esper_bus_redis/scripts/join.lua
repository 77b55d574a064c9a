-- ARGV: group.
join(ARGV[1])
return 1
