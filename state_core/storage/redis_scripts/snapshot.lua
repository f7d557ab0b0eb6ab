-- The newest snapshot with seq <= upto.
local session, upto = take(), tonumber(take())
local snapshots, best = key(session, "snapshots"), -1
for _, seq in ipairs(call("HKEYS", snapshots)) do
  local number = tonumber(seq)
  if number <= upto and number > best then best = number end
end
if best < 0 then return {"missing"} end
return {"done", whole(best), call("HGET", snapshots, whole(best))}
