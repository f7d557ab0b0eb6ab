-- Index the durations of sessions that an earlier version has not, some at a time. Returns whether to go on.

local at_once, statuses = tonumber(take()), take_list()

for _, status in ipairs(statuses) do
  local all, some = index_key(status, "session_id"), index_key(status, "duration")
  if call("ZCARD", all) > call("ZCARD", some) then
    local missing = call("ZDIFF", 2, all, some)
    for i = 1, math.min(#missing, at_once) do index_duration(missing[i], status) end
    if #missing > 0 then return 1 end
  end
end
return 0
