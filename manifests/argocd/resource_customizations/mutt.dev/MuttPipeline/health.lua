-- Health of a MuttPipeline for Argo CD. A status that speaks of an older generation is no verdict on this one, so such an object
-- is Progressing; without that, a sync would pass before the operator has looked.
if obj.spec ~= nil and obj.spec.paused == true then
  return { status = "Suspended", message = "Paused: the operator changes nothing" }
end

local status = obj.status
if status == nil or status.conditions == nil then
  return { status = "Progressing", message = "Waiting for the operator" }
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

local function is(kind, value)
  return conditions[kind] ~= nil and conditions[kind].status == value
end

local function said(kind, otherwise)
  local message = conditions[kind] ~= nil and conditions[kind].message or nil
  if message == nil or message == "" then
    return otherwise
  end
  return message
end

-- Before Ready: what needs a person stays so while a rollout goes on, and a pipeline can be Ready and Degraded at once.
if is("Degraded", "True") then
  return { status = "Degraded", message = said("Degraded", "Degraded") }
end
if is("Ready", "True") then
  return { status = "Healthy", message = said("Ready", "Ready") }
end
if is("Progressing", "True") then
  return { status = "Progressing", message = said("Progressing", "Rolling out") }
end
-- For a moment after the first start all pods may be ready before the rules are.
if is("Ready", "False") and conditions["Ready"].reason ~= "NotYetPublished" then
  return { status = "Degraded", message = said("Ready", "Not ready") }
end
return { status = "Progressing", message = said("Ready", "Waiting for the operator") }
