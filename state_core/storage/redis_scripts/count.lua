-- Sessions per status by the index alone, updated in a span of time. Returns "again" while expired
-- sessions are being forgotten.
local since, upto, statuses = take(), take(), take_list()
if sweep(SWEPT_AT_ONCE) then return {"again"} end
local low = since == "" and "-inf" or since
local high = upto == "" and "+inf" or "(" .. upto
local found = {"done"}
for _, status in ipairs(statuses) do
  found[#found + 1] = whole(call("ZCOUNT", index_key(status, "updated_at"), low, high))
end
return found
