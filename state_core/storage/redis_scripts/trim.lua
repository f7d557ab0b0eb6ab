-- Remove events that are before the log's beginning, from the first that is left: a part, so that nobody waits
-- long. counted: what the data of their headers count.

local session, from, upto, counted = take(), take(), take(), tonumber(take())
local head, log = key(session, "head"), key(session, "log")
local bodies, beside = key(session, "bodies"), key(session, "rewritten")

local first = call("HGET", head, "first_seq")
local left = call("XRANGE", log, "-", "+", "COUNT", 1)[1]
if not first or not left then return {"missing"} end
-- Somebody else removed it meanwhile.
if left[1] ~= from .. "-0" or tonumber(upto) >= tonumber(first) then return {"gone"} end

local size, fields = counted, {}
for number = tonumber(from), tonumber(upto) do
  local field = whole(number)
  size = size + call("HSTRLEN", bodies, field) - PLACE_BYTES
  fields[#fields + 1] = field
end
call("HDEL", bodies, unpack(fields))
call("HDEL", beside, unpack(fields))
call("XTRIM", log, "MINID", whole(tonumber(upto) + 1) .. "-0")
call("HINCRBY", head, "stored_bytes", whole(-size))
if tonumber(upto) + 1 == tonumber(first) then call("SREM", prefix .. "trimming", session) end
return {"done"}
