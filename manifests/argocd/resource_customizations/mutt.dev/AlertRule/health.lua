-- Health of an AlertRule for Argo CD. A rejected rule is Degraded although its last good form may still serve: what Git holds is
-- not what runs.
local status = obj.status
if status == nil or status.conditions == nil then
  return { status = "Progressing", message = "Waiting for the operator; does a pipeline select this rule?" }
end

local generation = obj.metadata.generation
local function current(seen)
  return generation == nil or (seen ~= nil and seen >= generation)
end

if not current(status.observedGeneration) then
  return { status = "Progressing", message = "Waiting for the operator to see the change" }
end

local conditions = {}
for _, condition in ipairs(status.conditions) do
  if current(condition.observedGeneration or status.observedGeneration) then
    conditions[condition.type] = condition
  end
end

local function said(condition, otherwise)
  if condition.message == nil or condition.message == "" then
    return otherwise
  end
  return condition.message
end

local accepted = conditions["Accepted"]
if accepted == nil or accepted.status == "Unknown" then
  return { status = "Progressing", message = "Waiting for the operator to compile the rule" }
end
if accepted.status ~= "True" then
  return { status = "Degraded", message = said(accepted, "Rejected") }
end

-- Healthy and not Suspended: one disabled rule would show the whole application as suspended.
if obj.spec ~= nil and obj.spec.enabled == false then
  return { status = "Healthy", message = "Disabled" }
end

local active = conditions["Active"]
if active == nil then
  return { status = "Progressing", message = "Waiting for the alerters" }
end
if active.status ~= "True" then
  -- Not the rule's fault, and its pipeline has a health of its own: a sync of rules must not hang on a pipeline scaled to zero.
  if active.reason == "NoWorkers" then
    return { status = "Healthy", message = said(active, "Accepted; no alerter runs") }
  end
  -- These do not change by waiting: its owner or the pipeline's has to do something.
  if active.reason == "NotSelected" or active.reason == "RefusedByAlerters" then
    return { status = "Degraded", message = said(active, active.reason) }
  end
  return { status = "Progressing", message = said(active, "Waiting for the alerters") }
end

local reachable = conditions["Reachable"]
if reachable ~= nil and reachable.status == "False" then
  return { status = "Healthy", message = said(reachable, "Active, but a rule before it takes everything that it would match") }
end
return { status = "Healthy", message = said(active, "Active") }
