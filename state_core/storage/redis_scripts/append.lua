-- Compare the guard, then write the events, the head, the checkpoints and the index: all or nothing.

local session, expire = take(), tonumber(take())
local begins, expected, fence = take(), take(), take()
local creates = begins ~= ""
local guarded, statuses = take() == "1", take_list()
local set, add, working = take_list(), take_list(), take_list()
local count = tonumber(take())

local head = key(session, "head")
local values = call("HMGET", head, "last_seq", "status", "fence", "lease_expires_at")
local seq, status, held_fence, lease = unpack(values)
local now = microseconds()

if not seq and not creates then return {"missing"} end
if seq then
  local allowed = not guarded
  for _, one in ipairs(statuses) do allowed = allowed or one == status end
  if creates
    or (fence ~= "" and (fence ~= held_fence or not lasts(lease, now)))
    or not allowed
    or (expected ~= "" and expected ~= seq)
  then
    return {"refused", seq, status, held_fence, lasts(lease, now) and 1 or 0}
  end
else
  -- What is left of an evicted or expired session of this name.
  for _, part in ipairs(PARTS) do call("UNLINK", key(session, part)) end
  forget(session)
  seq, status = tonumber(begins) - 1, nil
  call("HSET", head, "format", 1, "session_id", session, "status", "pending", "fence", 0, "worked", "[]")
end

local first = tonumber(seq) + 1
for i = 0, count - 1 do
  local number = whole(first + i)
  call("XADD", key(session, "log"), number .. "-0", "kind", take(), "branch", take(), "header", take())
  call("HSET", key(session, "bodies"), number, placed(first + i, take()))
end
local last = whole(first + count - 1)

local changed = {}
call("HSET", head, "last_seq", last, unpack(set))
for i = 1, #set, 2 do changed[set[i]] = set[i + 1] end
if #working > 0 then join_workers(session, working) end
for i = 1, #add, 2 do changed[add[i]] = whole(call("HINCRBY", head, add[i], add[i + 1])) end

local after = changed.status or status or "pending"
if after ~= status then
  if status then unindex(session, status) end
  index(session, after)
else
  for _, field in ipairs(SORTED) do
    if changed[field] then
      call("ZADD", index_key(status, field), score_of(field, changed[field]), session)
    end
  end
  if changed.started_at or changed.ended_at then index_duration(session, status) end
end
if changed.questions then
  if tonumber(changed.questions) > 0 then
    call("ZADD", prefix .. "asking", 0, session)
  else
    call("ZREM", prefix .. "asking", session)
  end
end

local places = key(session, "checkpoints")
for _ = 1, tonumber(take()) do
  local offset, id, content = tonumber(take()), take(), take()
  call("HSET", places, "c:" .. id, whole(first + offset) .. " " .. content)
  call("HDEL", places, "name:" .. id, "pinned:" .. id)
  call("HSET", prefix .. "checkpoints", id, session)
  if expire > 0 then list_checkpoints(session, {id}) end
end
for _, part in ipairs({"name:", "pinned:"}) do
  local values = take_list()
  for i = 1, #values, 2 do
    if call("HEXISTS", places, "c:" .. values[i]) == 1 then
      call("HSET", places, part .. values[i], values[i + 1])
    end
  end
end
for _, id in ipairs(take_list()) do
  call("HDEL", places, "c:" .. id, "name:" .. id, "pinned:" .. id)
  forget_checkpoint(session, id)
end

touch(session, expire, now)
if expire > 0 then sweep(2) end
announce(session)
return {"done", last}
