-- Replace events where they stand, and let the log begin later: all or nothing. `trim` removes what is before
-- the new beginning, which nobody reads any more. Entries of a stream cannot be changed, so what of an event's
-- header is new stands beside it. Only bodies are measured here; what data in headers count is told.

local session, begins, first, counted = take(), take(), take(), tonumber(take())
local head, log = key(session, "head"), key(session, "log")
local bodies, beside = key(session, "bodies"), key(session, "rewritten")

local function header_of(seq)
  local entry = call("XRANGE", log, seq .. "-0", seq .. "-0")[1]
  if not entry then return nil end
  local written = call("HGET", beside, seq) or ""
  if string.sub(written, 1, 1) == "{" then return COMPACTED, written end
  return entry[2][2], entry[2][6]
end

-- Moments are whole microseconds or text, and both compare exactly.
local function may_replace(seq, kind, header)
  local its_kind, its_header = header_of(seq)
  if not its_kind or (its_kind ~= kind and kind ~= COMPACTED) then return false end
  return cjson.decode(its_header).at == cjson.decode(header).at
end

local function forget_snapshots_before(seq)
  local snapshots = key(session, "snapshots")
  for _, kept in ipairs(call("HKEYS", snapshots)) do
    if tonumber(kept) < seq then call("HDEL", snapshots, kept) end
  end
end

local found = call("HMGET", head, "last_seq", "first_seq")
if not found[1] then return {"missing"} end
if (found[2] or "1") ~= begins then return {"gone", begins} end

local records = {}
for i = 1, tonumber(take()) do
  local record = {seq = take(), kind = take(), header = take(), encoding = take(), body = take()}
  if not may_replace(record.seq, record.kind, record.header) then return {"gone", record.seq} end
  records[i] = record
end

local grown = counted
for _, record in ipairs(records) do
  grown = grown + #record.body - (call("HSTRLEN", bodies, record.seq) - PLACE_BYTES)
  call("HSET", bodies, record.seq, placed(tonumber(record.seq), record.body))
  call("HSET", beside, record.seq, record.kind == COMPACTED and record.header or record.encoding)
end
if first ~= "" then
  forget_snapshots_before(tonumber(first))
  call("HSET", head, "first_seq", first)
  call("SADD", prefix .. "trimming", session)
end
call("HINCRBY", head, "stored_bytes", whole(grown))
expire_with_head(session, "rewritten")
return {"done"}
