-- A part of a log: at most so many events and about so many bytes. Returns where to go on ("" at the
-- end), then seq, kind, branch, header, body and encoding since it was rewritten, of each event that fits.

local session, after, before, limit = take(), tonumber(take()), take(), tonumber(take())
local newest_first, bodies = take() == "1", take() == "1"
local by_branch, branch = take() == "1", take()
local examined_at_once, bytes_at_once = tonumber(take()), tonumber(take())
local by_kind, kinds = take() == "1", {}
for _, kind in ipairs(take_list()) do kinds[kind] = true end
local from_its_beginning = take() == "1"

-- What is before the beginning is about to be removed.
local begins = from_its_beginning and call("HMGET", key(session, "head"), "first_seq")[1]
local first = tonumber(begins or "1")
local low = whole(math.max(after + 1, first)) .. "-0"
local high = before == "" and "+" or whole(tonumber(before) - 1) .. "-0"
if before ~= "" and tonumber(before) - 1 <= after then return {""} end

local entries = newest_first
  and call("XREVRANGE", key(session, "log"), high, low, "COUNT", examined_at_once)
  or call("XRANGE", key(session, "log"), low, high, "COUNT", examined_at_once)

local beside = key(session, "rewritten")
local is_rewritten = call("EXISTS", beside) == 1

local found, bytes, events, last = {""}, 0, 0, nil
for _, entry in ipairs(entries) do
  last = string.match(entry[1], "^%d+")
  local fields = entry[2]
  local kind, its_branch, header = fields[2], fields[4], fields[6]
  local encoding = is_rewritten and call("HGET", beside, last) or ""
  if string.sub(encoding, 1, 1) == "{" then kind, its_branch, header, encoding = COMPACTED, "", encoding, "" end
  if (not by_kind or kinds[kind]) and (not by_branch or its_branch == branch) then
    local body = bodies and call("HGET", key(session, "bodies"), last) or ""
    for _, part in ipairs({last, kind, its_branch, header, body, encoding}) do found[#found + 1] = part end
    events = events + 1
    bytes = bytes + #header + #body
    if events == limit then return found end
    if bytes >= bytes_at_once then
      found[1] = last
      return found
    end
  end
end
if #entries == examined_at_once then found[1] = last end
return found
