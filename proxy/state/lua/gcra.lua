-- All rate limits of one request, all or nothing: the same arithmetic as proxy/admission/rate_limit.py, by the clock of
-- this server. A key holds when its debt will have been paid off, WHOLE:PART, in microseconds since 1970 and 1/requests
-- of one: a double holds both exactly, and nothing is rounded.
--
-- KEYS[i]           of limit i
-- ARGV[6 * i - 5]   requests (>= 1)
--      6 * i - 4/3  what a request costs, WHOLE and PART
--      6 * i - 2/1  the highest debt
--      6 * i        1 where the limit is enforced, 0 where it is only observed
-- Answers in one line with the debts before the request: WHOLE PART WHOLE PART ...

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local before, after, short, refused = {}, {}, {}, false

local function keep(key, whole, part)
  local expires_ms = string.format('%.0f', math.ceil(whole / 1000) + 1)
  redis.call('SET', key, string.format('%.0f:%.0f', now + whole, part), 'PX', expires_ms)
end

for i = 1, #KEYS do
  local requests = tonumber(ARGV[6 * i - 5])
  local most_whole, most_part = tonumber(ARGV[6 * i - 2]), tonumber(ARGV[6 * i - 1])
  local whole, part = 0, 0
  local kept = redis.call('GET', KEYS[i])
  if kept then
    local paid, paid_part = string.match(kept, '^(%d+):(%d+)$')
    whole, part = tonumber(paid) - now, tonumber(paid_part)
    if part >= requests then -- written when the limit had more requests
      whole, part = whole + 1, 0
    end
    if whole < 0 then
      whole, part = 0, 0
    elseif whole > most_whole or (whole == most_whole and part > most_part) then
      whole, part = most_whole, most_part -- the limit has become smaller, or the clock was set back
      keep(KEYS[i], whole, part) -- also where the request is refused, or the excess would be forgiven at every one anew
    end
  end
  before[i] = string.format('%.0f %.0f', whole, part)
  whole, part = whole + ARGV[6 * i - 4], part + ARGV[6 * i - 3]
  if part >= requests then
    whole, part = whole + 1, part - requests
  end
  short[i] = whole > most_whole or (whole == most_whole and part > most_part)
  after[i] = {whole, part}
  refused = refused or (short[i] and ARGV[6 * i] == '1')
end

if not refused then
  for i = 1, #KEYS do
    if not short[i] then
      keep(KEYS[i], after[i][1], after[i][2])
    end
  end
end

return {ok = table.concat(before, ' ')}
