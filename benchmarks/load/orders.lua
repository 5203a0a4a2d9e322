-- Posts varied orders without a client_order_id, so that each is new.
--   wrk ... -s orders.lua URL -- SIZE TOKENS PAUSE_MS
-- SIZE 0 posts single orders, a larger SIZE lists of that many. TOKENS is a file with one token per line, used in turn; it may
-- be empty. Each connection waits PAUSE_MS before each request; 0 for no pause.

local requests = {}
local number = 0

local function order(quantity)
  if quantity % 2 == 0 then
    return string.format('{"type":"market","side":"buy","instrument":"AAPL_2025_03","quantity":%d}', quantity)
  end
  return string.format(
    '{"type":"limit","side":"sell","instrument":"TSLA_2025_06","limit_price":"250.50","quantity":%d}', quantity)
end

local function body(size, quantity)
  if size == 0 then
    return order(quantity)
  end
  local orders = {}
  for i = 1, size do
    orders[i] = order(quantity + i)
  end
  return "[" .. table.concat(orders, ",") .. "]"
end

function init(args)
  local size, pause = tonumber(args[1]), tonumber(args[3])
  local tokens = {}
  for line in io.lines(args[2]) do
    tokens[#tokens + 1] = line
  end
  -- Format the requests before the clock starts, so that the generator does little but send.
  for i = 1, math.max(#tokens, 20) do
    local headers = { ["Content-Type"] = "application/json" }
    if #tokens > 0 then
      headers["Authorization"] = "Token " .. tokens[(i - 1) % #tokens + 1]
    end
    requests[i] = wrk.format("POST", nil, headers, body(size, i))
  end
  if pause > 0 then
    function delay()
      return pause
    end
  end
end

function request()
  number = number % #requests + 1
  return requests[number]
end
