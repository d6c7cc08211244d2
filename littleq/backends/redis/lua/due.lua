-- How many delayed jobs of several queues are due by given moments, all read at one instant.
--
-- KEYS[1] namespace; ARGV for each queue: its name, how many moments, the moments (seconds from now).
-- Returns for each queue the counts; they contain what is due already.

local time = redis.call("TIME")
local now = time[1] * 1000 + time[2] / 1000
local answer = {}
local i = 1
while i <= #ARGV do
    local schedule = "littleq:" .. KEYS[1] .. ":" .. ARGV[i] .. ":schedule"
    local counts = {}
    for k = 1, tonumber(ARGV[i + 1]) do
        local moment = string.format("%.3f", now + tonumber(ARGV[i + 1 + k]) * 1000)
        counts[k] = redis.call("ZCOUNT", schedule, "-inf", moment)
    end
    answer[#answer + 1] = counts
    i = i + 2 + tonumber(ARGV[i + 1])
end
return answer
