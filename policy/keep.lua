-- Says that a call which holds a seat is still under way.
--
-- KEYS: the hash and the seats of the provider
-- ARGV: 1 the name of the seat; 2 for how long it is held from now on
-- Returns {}. A seat that has expired is not taken back: somebody else may sit there.
redis.call('ZADD', seats, 'XX', 'GT', text(clock() + tonumber(ARGV[2])), ARGV[1])
return {}
