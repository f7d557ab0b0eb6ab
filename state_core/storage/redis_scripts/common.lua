-- What every script begins with. ARGV is read in order. The one key that is named beforehand says in which
-- slot the store is, for proxies that route by it: with a tag in the prefix all keys share it.
--
-- Times are microseconds since 1970, where nothing else is said.
--
-- <prefix>{<session>}:head         hash    format 1; field -> value; lists are JSON
-- <prefix>{<session>}:log          stream  <seq>-0 -> kind, branch, header as JSON
-- <prefix>{<session>}:bodies       hash    seq -> "seq ", seq as 4 bytes, bytes
-- <prefix>{<session>}:rewritten    hash    seq -> the encoding of its body since it was rewritten; for a
--                                          session.compacted its header
-- <prefix>{<session>}:checkpoints  hash    c:<id> -> seq, content; name:<id>, pinned:<id> since changed
-- <prefix>{<session>}:snapshots    hash    seq -> encoding LF bytes
-- <prefix>index:<status>:<field>   zset    session -> value, for each field of SORTED
-- <prefix>index:<status>:duration  zset    session -> how long it took; where it has not ended, minus when
--                                          it started: at any moment, that and the moment are its duration
-- <prefix>indexed                  hash    session -> the status that it is indexed under
-- <prefix>asking                   zset    session -> 0, where a question is open
-- <prefix>expiries                 zset    session -> milliseconds since 1970, where it expires
-- <prefix>trimming                 set     sessions that have events before their log's beginning
-- <prefix>checkpoints              hash    checkpoint -> session
-- <prefix>checkpoints:by-session   zset    <session>/<checkpoint>, of sessions that expire

local call = redis.call
local PARTS = {"head", "log", "bodies", "rewritten", "checkpoints", "snapshots"}
local SORTED = {"session_id", "updated_at", "created_at", "started_at", "steps", "state_bytes"}
local ENDED = {completed = true, failed = true, cancelled = true}
local SWEPT_AT_ONCE = 100
local COMPACTED = "session.compacted"
local PLACE_BYTES = 8
local MOST_WORKED = 64

local place = 0
local function take()
  place = place + 1
  return ARGV[place]
end

local function take_list()
  local list = {}
  for i = 1, tonumber(take()) do list[i] = take() end
  return list
end

local prefix = take()

local function key(session, part)
  return prefix .. "{" .. session .. "}:" .. part
end

local function index_key(status, field)
  return prefix .. "index:" .. status .. ":" .. field
end

-- Microseconds and milliseconds exceed what tostring shows of a number.
local function whole(number)
  return string.format("%.0f", number)
end

-- A body with its place in front.
local function placed(seq, body)
  return "seq " .. struct.pack(">I4", seq) .. body
end

local function microseconds()
  local now = call("TIME")
  return tonumber(now[1]) * 1000000 + tonumber(now[2])
end

local function lasts(lease, now)
  return lease and lease ~= "" and tonumber(lease) > now
end

local function score_of(field, value)
  if field == "session_id" then return "0" end
  if not value or value == "" then
    return (field == "steps" or field == "state_bytes") and "0" or "-inf"
  end
  return value
end

local function duration_score(status, started, ended)
  if not started or started == "" then return "-inf" end
  if not ENDED[status] then return "-" .. started end
  return (ended and ended ~= "") and whole(tonumber(ended) - tonumber(started)) or "-inf"
end

local function index_duration(session, status)
  local started, ended = unpack(call("HMGET", key(session, "head"), "started_at", "ended_at"))
  call("ZADD", index_key(status, "duration"), duration_score(status, started, ended), session)
end

local function index(session, status)
  local values = call("HMGET", key(session, "head"), unpack(SORTED))
  for i, field in ipairs(SORTED) do
    call("ZADD", index_key(status, field), score_of(field, values[i]), session)
  end
  index_duration(session, status)
  call("HSET", prefix .. "indexed", session, status)
end

local function unindex(session, status)
  for _, field in ipairs(SORTED) do call("ZREM", index_key(status, field), session) end
  call("ZREM", index_key(status, "duration"), session)
end

local function checkpoint_ids(session)
  local ids = {}
  for _, field in ipairs(call("HKEYS", key(session, "checkpoints"))) do
    if string.sub(field, 1, 2) == "c:" then table.insert(ids, string.sub(field, 3)) end
  end
  return ids
end

-- Whose checkpoints they are must be known when the session's own keys are gone.
local function list_checkpoints(session, ids)
  for _, id in ipairs(ids) do
    call("ZADD", prefix .. "checkpoints:by-session", 0, session .. "/" .. id)
  end
end

local function forget_checkpoint(session, id)
  if call("HGET", prefix .. "checkpoints", id) == session then call("HDEL", prefix .. "checkpoints", id) end
  call("ZREM", prefix .. "checkpoints:by-session", session .. "/" .. id)
end

-- All that is known of a session outside its own keys.
local function forget(session)
  local status = call("HGET", prefix .. "indexed", session)
  if status then unindex(session, status) end
  call("HDEL", prefix .. "indexed", session)
  call("ZREM", prefix .. "asking", session)
  call("SREM", prefix .. "trimming", session)
  call("ZREM", prefix .. "expiries", session)
  local names = prefix .. "checkpoints:by-session"
  local from, upto = "[" .. session .. "/", "(" .. session .. "0"
  for _, name in ipairs(call("ZRANGEBYLEX", names, from, upto)) do
    forget_checkpoint(session, string.sub(name, #session + 2))
  end
end

-- Forget sessions that have expired. Returns whether there may be more.
local function sweep(limit)
  local due = whole(math.floor(microseconds() / 1000))
  local gone = call("ZRANGEBYSCORE", prefix .. "expiries", "-inf", "(" .. due, "LIMIT", 0, limit)
  for _, session in ipairs(gone) do
    if call("EXISTS", key(session, "head")) == 0 then
      forget(session)
    else
      call("ZREM", prefix .. "expiries", session)
    end
  end
  return #gone == limit
end

-- All keys of a session expire in the same millisecond. expire: milliseconds from now, 0 for never.
local function touch(session, expire, now)
  local expires = call("PTTL", key(session, "head")) >= 0
  if expire > 0 then
    if not expires then list_checkpoints(session, checkpoint_ids(session)) end
    local at = whole(math.floor(now / 1000) + expire)
    for _, part in ipairs(PARTS) do call("PEXPIREAT", key(session, part), at) end
    call("ZADD", prefix .. "expiries", at, session)
  elseif expires then
    for _, part in ipairs(PARTS) do call("PERSIST", key(session, part)) end
    call("ZREM", prefix .. "expiries", session)
  end
end

-- For a key that was perhaps made just now.
local function expire_with_head(session, part)
  local left = call("PTTL", key(session, "head"))
  if left >= 0 then call("PEXPIREAT", key(session, part), whole(math.floor(microseconds() / 1000) + left)) end
end

-- Of names as JSON, those that are not among the head's yet. Where an earlier version wrote the head, it has no
-- such list: `worked` makes it from the log.
local function join_workers(session, names)
  local head = key(session, "head")
  local before = call("HGET", head, "worked")
  if not before then return end
  local list = cjson.decode(before)
  local known, after, count = {}, string.sub(before, 2, -2), #list
  for _, name in ipairs(list) do known[name] = true end
  for _, json in ipairs(names) do
    local name = cjson.decode("[" .. json .. "]")[1]
    if not known[name] and count < MOST_WORKED then
      after = after == "" and json or after .. "," .. json
      known[name], count = true, count + 1
    end
  end
  if count > #list then call("HSET", head, "worked", "[" .. after .. "]") end
end

local function announce(session)
  call("PUBLISH", prefix .. "changed", session)
end
