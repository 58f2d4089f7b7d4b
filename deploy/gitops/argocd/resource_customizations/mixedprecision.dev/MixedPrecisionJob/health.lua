-- Health of a MixedPrecisionJob for Argo CD (Lua 5.1). Decides by conditions, never by status.state.
local health = { status = "Progressing", message = "Waiting for the operator" }

if obj.status == nil or obj.status.conditions == nil then
  return health
end

if obj.status.observedGeneration ~= obj.metadata.generation then
  health.message = "Waiting for the operator to see the last change"
  return health
end

local holding = {}
for _, condition in ipairs(obj.status.conditions) do
  if condition.status == "True" then
    holding[condition.type] = condition
  elseif condition.type == "Ready" then
    health.message = condition.message
  end
end

local verdicts = {
  { type = "Failed", status = "Degraded" },
  { type = "Complete", status = "Healthy" },
  { type = "Suspended", status = "Suspended" },
}
for _, verdict in ipairs(verdicts) do
  local condition = holding[verdict.type]
  if condition ~= nil then
    health.status = verdict.status
    health.message = condition.message
    return health
  end
end

return health
