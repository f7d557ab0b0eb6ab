-- A page of heads in order. Each status has its own index; they are merged. Returns whether to go on,
-- the value and the session to go on behind, then the heads.
--
-- A row's value is its score and its source's shift: of what has not ended, the index of durations holds what
-- makes one with as_of.

local field, descending, limit, at_once = take(), take() == "1", tonumber(take()), tonumber(take())
local has_cursor, cursor_value, cursor_session = take() == "1", tonumber(take()), take()
local as_of, statuses = tonumber(take()), take_list()
local filter = take_filter()

local CHUNK = math.min(math.max(limit, 16), 128)
local by_status, by_session = field == "status", field == "session_id"
local indexed_by = by_status and "session_id" or field
local backwards = by_session and descending

-- The server's locale decides about < between strings.
local function precedes(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

local function ranks_below(source, value)
  return call("ZCOUNT", source.key, "-inf", "(" .. value)
end

-- As a score of this source.
local function score_at(source, value)
  return value == -math.huge and "-inf" or whole(value - source.shift)
end

local function member_at(source, rank)
  return call("ZRANGE", source.key, rank, rank)[1]
end

-- The first rank in low..high+1 whose member comes after the cursor's, or is it where inclusive.
local function rank_behind(source, low, high, inclusive)
  while low <= high do
    local middle = math.floor((low + high) / 2)
    local member = member_at(source, middle)
    if precedes(cursor_session, member) or (inclusive and member == cursor_session) then
      high = middle - 1
    else
      low = middle + 1
    end
  end
  return low
end

-- A source gives the ranks run_from..run_to ascending, then, when descending, those from high down to low.
local function start_behind_cursor(source)
  if by_status then
    if source.value ~= cursor_value then
      if (source.value < cursor_value) ~= descending then source.high = -1 end
      return
    end
  end
  if backwards then
    source.high = rank_behind(source, source.low, source.high, true) - 1
    return
  end
  local shown = by_status and "0" or score_at(source, cursor_value)
  local low = math.max(source.low, ranks_below(source, shown))
  local high = math.min(source.high, call("ZCOUNT", source.key, "-inf", shown) - 1)
  local behind = rank_behind(source, low, high, false)
  if not descending or by_status then
    source.low = behind
  else
    source.run_from, source.run_to, source.high = behind, high, low - 1
  end
end

local function open_source(status)
  local source = {key = index_key(status, indexed_by), rows = {}, at = 1, low = 0, run_from = 0, run_to = -1}
  source.shift = (field == "duration" and not ENDED[status]) and as_of or 0
  source.high = call("ZCARD", source.key) - 1
  if field == "updated_at" and filter.since ~= "" then source.low = ranks_below(source, filter.since) end
  if field == "updated_at" and filter.upto ~= "" then source.high = ranks_below(source, filter.upto) - 1 end
  for i, one in ipairs(statuses) do
    if one == status and by_status then source.value = i end
  end
  if has_cursor then start_behind_cursor(source) end
  if (not descending or by_status) and source.high >= 0 then
    source.run_from, source.run_to, source.high = source.low, source.high, source.low - 1
  end
  return source
end

local function rows_between(source, from, upto)
  local flat, rows = call("ZRANGE", source.key, from, upto, "WITHSCORES"), {}
  for i = 1, #flat, 2 do
    rows[#rows + 1] = {session = flat[i], value = source.value or tonumber(flat[i + 1]) + source.shift}
  end
  return rows
end

local function fill_run(source)
  local upto = math.min(source.run_to, source.run_from + CHUNK - 1)
  source.rows = rows_between(source, source.run_from, upto)
  source.run_from = upto + 1
end

-- Values descending; sessions of the same value ascending.
local function regrouped(rows, first)
  local found, last = {}, #rows
  while last >= first do
    local begin = last
    while begin > first and rows[begin - 1].value == rows[last].value do begin = begin - 1 end
    for i = begin, last do found[#found + 1] = rows[i] end
    last = begin - 1
  end
  return found
end

local function fill_descending(source)
  local from = math.max(source.low, source.high - CHUNK + 1)
  local rows = rows_between(source, from, source.high)
  if backwards then
    for i = #rows, 1, -1 do source.rows[#source.rows + 1] = rows[i] end
    source.high = from - 1
    return
  end
  if rows[1].value == rows[#rows].value then
    local value = rows[1].value
    local below = ranks_below(source, score_at(source, value))
    source.run_from, source.run_to = math.max(source.low, below), source.high
    source.high = source.run_from - 1
    fill_run(source)
    return
  end
  local first = 1
  -- The lowest value may go on below this chunk.
  if from > source.low then
    while rows[first].value == rows[1].value do first = first + 1 end
  end
  source.rows = regrouped(rows, first)
  source.high = from + first - 2
end

local function peek(source)
  if source.at > #source.rows then
    source.rows, source.at = {}, 1
    if source.run_from <= source.run_to then
      fill_run(source)
    elseif source.high >= source.low then
      fill_descending(source)
    end
  end
  return source.rows[source.at]
end

local function comes_first(a, b)
  if a.session == b.session then return false end
  if a.value ~= b.value then return (a.value < b.value) ~= descending end
  return precedes(a.session, b.session) ~= backwards
end

local sources, gone = {}, {}

local function add_source(source)
  if peek(source) then table.insert(sources, source) end
end

-- Few sessions ask: their heads are read and sorted here.
local function open_asking()
  local places, rows = {}, {}
  local cursor = {session = cursor_session, value = cursor_value}
  for i, status in ipairs(statuses) do places[status] = i end
  for _, session in ipairs(call("ZRANGE", prefix .. "asking", 0, -1)) do
    local head = call("HMGET", key(session, "head"), "status", indexed_by, "started_at", "ended_at")
    local status, value, started, ended = unpack(head)
    local row = {session = session, value = by_status and places[status] or score_of(indexed_by, value)}
    if field == "duration" then
      row.value = duration_score(status, started, ended)
      row.value = tonumber(row.value) + (ENDED[status] and 0 or as_of)
    end
    row.value = tonumber(row.value)
    if not status then
      table.insert(gone, session)
    elseif places[status] and (not has_cursor or comes_first(cursor, row)) then
      table.insert(rows, row)
    end
  end
  table.sort(rows, comes_first)
  return {rows = rows, at = 1, low = 0, high = -1, run_from = 0, run_to = -1}
end

local few_ask = filter.questions and call("ZCARD", prefix .. "asking") <= at_once
if few_ask then
  add_source(open_asking())
else
  for _, status in ipairs(statuses) do add_source(open_source(status)) end
end

local function next_row()
  local first, row = 1, sources[1] and peek(sources[1])
  for i = 2, #sources do
    local other = peek(sources[i])
    if comes_first(other, row) then first, row = i, other end
  end
  if not row then return nil end
  local source = sources[first]
  source.at = source.at + 1
  if not peek(source) then table.remove(sources, first) end
  return row
end

if few_ask or field ~= "updated_at" then filter_by_time(filter) end
local found, examined, last = {"0", "", ""}, 0, nil
while #found - 3 < limit do
  if examined == at_once then
    found[1] = "1"
    found[2] = last.value == -math.huge and "-inf" or whole(last.value)
    found[3] = last.session
    break
  end
  last = next_row()
  if not last then break end
  examined = examined + 1
  if not filter.by_content or fits(last.session, filter) then
    local head = call("HGETALL", key(last.session, "head"))
    table.insert(#head > 0 and found or gone, #head > 0 and head or last.session)
  end
end
for _, session in ipairs(gone) do forget(session) end
return found
