-- Arguments: the paths to ask for in turn; without any, the path of the URL. Prints one line of JSON at the end.
local paths = {}
local at = 0

function init(args)
  for number, path in ipairs(args) do
    paths[number] = wrk.format("GET", path)
  end
  -- Left undefined otherwise: wrk then sends the same bytes again and spares itself Lua.
  if #paths > 0 then
    request = function()
      at = at % #paths + 1
      return paths[at]
    end
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"microseconds":%d,"bytes":%d,"failed":%d,"p50":%d,"p99":%d}\n',
    summary.requests, summary.duration, summary.bytes,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
