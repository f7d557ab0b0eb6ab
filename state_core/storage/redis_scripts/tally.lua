-- Of the sessions in one index that fit, a part at a time: sessions, events, checkpoints and bytes of each
-- status. Returns where to go on, "" at the end.

local members_key, after, at_once = prefix .. take(), take(), tonumber(take())
local filter = take_filter()
filter_by_time(filter)
sweep(SWEPT_AT_ONCE)

local tallies = {}

local function add(session)
  local values = call("HMGET", key(session, "head"), "status", "last_seq", "checkpoints", "stored_bytes", "first_seq")
  local status = values[1]
  if not status then return forget(session) end
  values[2] = tonumber(values[2]) - tonumber(values[5] or "1") + 1
  local tally = tallies[status] or {1, 0, 0, 0}
  if tallies[status] then tally[1] = tally[1] + 1 end
  for i = 2, 4 do tally[i] = tally[i] + tonumber(values[i] or "0") end
  tallies[status] = tally
end

local from = after == "" and "-" or "(" .. after
local members = call("ZRANGEBYLEX", members_key, from, "+", "LIMIT", 0, at_once)
for _, session in ipairs(members) do
  if not filter.by_content or fits(session, filter) then add(session) end
end

local found = {#members == at_once and members[#members] or ""}
for status, tally in pairs(tallies) do
  found[#found + 1] = status
  for _, number in ipairs(tally) do found[#found + 1] = whole(number) end
end
return found
