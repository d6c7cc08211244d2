-- Moves due jobs from the schedule to their queue, for workers that fetch with Dramatiq's script. ARGV 1 queue. Answers how many.
return promote(ARGV[1])
