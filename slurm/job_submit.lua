-- SPDX-License-Identifier: GPL-2.0-or-later
--
-- Makes licences of `--qpu`, so that jobs queue in Slurm for the lanes of a QPU.
--
-- slurmctld (JobSubmitPlugins=lua) loads it as job_submit.lua beside slurm.conf. The names and lanes of the QPUs are in
-- qrmi_qpus.lua in the same directory, which `qrmi slurm configure` writes and each submission reads anew:
--
--     return { cluster = "name", qpus = { ibm_fez = { name = "ibm_fez", lanes = 1 }, ... } }
--
-- with names in lower case as keys. Which of them are out of service, the gateway's reservations qrmi_<name> tell; why,
-- the files qrmi_reason_<key> in the same directory, where its root helper writes them. A site that has a
-- job_submit.lua of its own puts this file beside it as qrmi_job_submit.lua and calls it from there:
--
--     dofile("/etc/slurm/qrmi_job_submit.lua")
--     function slurm_job_submit(job_desc, part_list, submit_uid)
--         -- ... the site's own rules ...
--         return qrmi.submit(job_desc, submit_uid)
--     end
--     function slurm_job_modify(job_desc, job_rec, part_list, modify_uid)
--         return qrmi.modify(job_desc, job_rec, modify_uid)
--     end
--     return slurm.SUCCESS
--
-- Licences are the only thing from which QPUs are granted later, so nobody but root and SlurmUser may write those of
-- QPUs by hand. A mistake in the table concerns jobs that ask for a QPU, and no others.

qrmi = {}

local OPTION = "_SLURM_SPANK_OPTION_qrmi_qpu"
local LISTED = 12
local directory = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"

local function refuse(...)
	slurm.log_user(...)
	return slurm.ERROR
end

-- ---------------------------------------------------------------- the table

local table_text, table_now

local function compile(text)
	local chunk, problem
	if setfenv ~= nil then -- Lua 5.1
		chunk, problem = loadstring(text, "=qrmi_qpus.lua")
		if chunk ~= nil then setfenv(chunk, {}) end
	else
		chunk, problem = load(text, "=qrmi_qpus.lua", "t", {})
	end
	if chunk == nil then return nil, problem end
	local good, value = pcall(chunk)
	if not good then return nil, value end
	if type(value) ~= "table" or type(value.qpus) ~= "table" then return nil, "it returns no table with `qpus`" end
	for key, qpu in pairs(value.qpus) do
		if type(key) ~= "string" or type(qpu) ~= "table" or type(qpu.lanes) ~= "number" or key ~= key:lower() then
			return nil, "the entry " .. tostring(key) .. " is not { name = ..., lanes = number } under a name in lower case"
		end
	end
	return value
end

-- The QPUs of the site; where the file is wrong those of the last time it was right, nil where it never was
local function qpus()
	local file, problem = io.open(directory .. "qrmi_qpus.lua", "r")
	local text = nil
	if file ~= nil then
		text = file:read("*a")
		file:close()
	end
	if text ~= nil and text ~= table_text then
		local value
		value, problem = compile(text)
		if value ~= nil then table_text, table_now = text, value end
	end
	if problem ~= nil then slurm.log_error("qrmi: %sqrmi_qpus.lua cannot be used: %s", directory, tostring(problem)) end
	return table_now and table_now.qpus
end

-- ---------------------------------------------------------------- names

local function distance(one, other)
	local before = {}
	for j = 0, #other do before[j] = j end
	for i = 1, #one do
		local row = { [0] = i }
		for j = 1, #other do
			local cost = one:byte(i) == other:byte(j) and 0 or 1
			row[j] = math.min(before[j] + 1, row[j - 1] + 1, before[j - 1] + cost)
		end
		before = row
	end
	return before[#other]
end

-- The names that there are, nearest first
local function names_near(wrong, known)
	local found = {}
	for key, qpu in pairs(known) do
		found[#found + 1] = { key = key, name = tostring(qpu.name or key), far = distance(wrong:lower(), key) }
	end
	table.sort(found, function(a, b)
		if a.far ~= b.far then return a.far < b.far end
		return a.key < b.key
	end)
	local names = {}
	for i = 1, math.min(#found, LISTED) do names[i] = found[i].name end
	if #found == 0 then return "this site has none yet" end
	local more = #found > LISTED and (" and " .. (#found - LISTED) .. " more, see `qrmi qpus`") or ""
	return "there " .. (#found == 1 and "is " or "are ") .. table.concat(names, ", ") .. more
end

-- ---------------------------------------------------------------- what the job asks for

local function values_of(job, name)
	local values, environment = {}, job.spank_job_env
	if environment == nil then return values end
	for i = 0, (job.spank_job_env_size or 0) - 1 do
		local entry = environment[i]
		if type(entry) == "string" and entry:sub(1, #name + 1) == name .. "=" then
			values[#values + 1] = entry:sub(#name + 2)
		end
	end
	return values
end

-- The value of --qpu, nil without one; and what is wrong where what the plugin noted and the option differ. A component
-- that is not the first of its job inherits the option without asking, so that there only the note counts.
local function asked_for(job)
	local noted, options = values_of(job, "QPU"), values_of(job, OPTION)
	local component = job.het_job_offset
	if component ~= nil and component > 0 and component < 65534 then
		if noted[1] == nil then return nil end
		return nil, "--qpu=" .. noted[1] .. " stands in component " .. component ..
			" of the job: only the first component can hold QPUs"
	end
	if job.script ~= nil and job.environment ~= nil then -- the environment of srun and salloc is not to be had
		options[#options + 1] = job.environment[OPTION]
	end
	for _, list in ipairs({ noted, options }) do
		for _, other in ipairs(list) do
			if other ~= noted[1] then
				return nil, "--qpu=" .. other .. " was not taken from the command line: " ..
					"leave variables with SPANK in their names alone and use --qpu"
			end
		end
	end
	return noted[1]
end

local function is_qpu_licence(licences)
	for item in (licences or ""):lower():gmatch("[%w_][^,;|%s()]*") do
		if item:sub(1, 4) == "qpu_" then return true end
	end
	return false
end

local function may_write_licences(uid)
	if uid == 0 then return true end
	local file = io.open("/proc/self/status", "r") -- slurmctld runs as SlurmUser
	if file == nil then return false end
	local own = file:read("*a"):match("\nUid:%s+%d+%s+(%d+)")
	file:close()
	return own ~= nil and tonumber(own) == uid
end

local function lanes_word(count) return count == 1 and "1 lane" or count .. " lanes" end

-- "a,b:2" as a list of { key, lanes, qpu }, or nil and what is wrong
local function wanted(value, known)
	local items, seen = {}, {}
	for item in (value .. ","):gmatch("([^,]*),") do
		local name, lanes = item:match("^([%a_][%w_]*)$"), nil
		if name == nil then name, lanes = item:match("^([%a_][%w_]*):(%w+)$") end
		if name == nil or #name > 40 or (lanes ~= nil and lanes ~= "full" and not lanes:match("^[1-9]%d?%d?%d?$")) then
			return nil, "--qpu=" .. value .. ": '" .. item .. "' is not of the form NAME[:LANES|:full]"
		end
		local key = name:lower()
		local qpu = known[key]
		if qpu == nil then return nil, "--qpu: there is no QPU '" .. name .. "' here; " .. names_near(name, known) end
		if seen[key] then return nil, "--qpu=" .. value .. ": '" .. name .. "' is named twice" end
		seen[key] = true
		local count = lanes == "full" and qpu.lanes or tonumber(lanes or "1")
		if count > qpu.lanes or count < 1 then
			return nil, "--qpu=" .. item .. ": " .. tostring(qpu.name or key) .. " has " .. lanes_word(qpu.lanes) ..
				(qpu.lanes > 0 and "; ask for at most " .. qpu.lanes .. ", or for all with " .. name .. ":full" or "")
		end
		items[#items + 1] = { key = key, lanes = count, qpu = qpu }
	end
	return items
end

-- Why a QPU is out of service, nil where it is not
local function why_out(name, item)
	if item.qpu.reason ~= nil then return tostring(item.qpu.reason) end
	local reservations = slurm.reservations
	if reservations == nil or reservations["qrmi_" .. name] == nil then return nil end
	local file = io.open(directory .. "qrmi_reason_" .. item.key, "r")
	local reason = nil
	if file ~= nil then
		reason = file:read("*l")
		file:close()
	end
	if reason == nil or reason == "" then return "`qrmi qpus` tells why" end
	return (reason:gsub("[%c]", " "):gsub("[%s.]+$", ""))
end

-- ---------------------------------------------------------------- what Slurm calls

function qrmi.submit(job_desc, submit_uid)
	local own = job_desc.licenses
	if is_qpu_licence(own) and not may_write_licences(submit_uid) then
		return refuse("--licenses=%s: the licences of QPUs are written by Slurm itself; ask with --qpu=NAME", own)
	end
	local value, changed = asked_for(job_desc)
	if changed ~= nil then return refuse("%s", changed) end
	if value == nil then return slurm.SUCCESS end
	local known = qpus()
	if known == nil then
		return refuse("--qpu: the list of QPUs cannot be read on the controller; tell the administrators (qrmi check --slurm)")
	end
	local items, mistake = wanted(value, known)
	if items == nil then return refuse("%s", mistake) end
	if own ~= nil and own:find("|", 1, true) then
		return refuse("--licenses=%s: licences of which one is enough cannot be combined with --qpu", own)
	end
	local licences = {}
	if own ~= nil and own ~= "" then licences[1] = own end
	for _, item in ipairs(items) do
		licences[#licences + 1] = "qpu_" .. item.key .. ":" .. item.lanes
		local name = tostring(item.qpu.name or item.key)
		local reason = why_out(name, item)
		if reason ~= nil then slurm.log_user("%s is out of service: %s. The job waits until it is back", name, reason) end
	end
	job_desc.licenses = table.concat(licences, ",")
	return slurm.SUCCESS
end

function qrmi.modify(job_desc, job_rec, modify_uid)
	local new = job_desc.licenses
	if new == nil or may_write_licences(modify_uid) then return slurm.SUCCESS end
	if is_qpu_licence(new) or is_qpu_licence(job_rec.licenses) or #values_of(job_rec, "QPU") > 0 then
		return refuse("the licences of a job with QPUs are written by Slurm itself; cancel the job and submit it anew with --qpu")
	end
	return slurm.SUCCESS
end

function slurm_job_submit(job_desc, part_list, submit_uid) return qrmi.submit(job_desc, submit_uid) end

function slurm_job_modify(job_desc, job_rec, part_list, modify_uid) return qrmi.modify(job_desc, job_rec, modify_uid) end

return slurm.SUCCESS
