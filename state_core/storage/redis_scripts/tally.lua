-- Sessions, events, checkpoints and bytes of the sessions of one status that fit, a part at a time.
local status, after, at_once = take(), take(), tonumber(take())
local filter = take_filter()
sweep(SWEPT_AT_ONCE)

local from = after == "" and "-" or "(" .. after
local members = call("ZRANGEBYLEX", index_key(status, "session_id"), from, "+", "LIMIT", 0, at_once)
local sessions, events, checkpoints, bytes = 0, 0, 0, 0
for _, session in ipairs(members) do
  local fit = fits(session, filter, true)
  if fit then
    local values = call("HMGET", key(session, "head"), "last_seq", "checkpoints", "stored_bytes")
    sessions = sessions + 1
    events = events + tonumber(values[1])
    checkpoints = checkpoints + tonumber(values[2] or "0")
    bytes = bytes + tonumber(values[3] or "0")
  elseif fit == nil then
    forget(session)
  end
end
local next = #members == at_once and members[#members] or ""
return {next, whole(sessions), whole(events), whole(checkpoints), whole(bytes)}
