"use strict";

// What a browser needs to follow a run: EventSource comes back by itself with the last cursor that it had.
const DURABLE = [
  "run.queued", "run.started", "turn.finished", "turn.restarted", "approval.requested", "approval.decided",
];
const ENDS = ["run.completed", "run.failed", "run.cancelled"];
const $ = (id) => document.getElementById(id);

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

async function call(method, path, body, headers = {}) {
  const options = { method, headers };
  if (body !== undefined) {
    options.headers = { ...headers, "Content-Type": "application/json" };
    options.body = JSON.stringify(body);
  }
  const answer = await fetch(path, options);
  const document_ = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw new Error(document_.detail);
  return document_;
}

async function listAgents() {
  const { agents } = await call("GET", "v1/agents");
  $("agent").replaceChildren(...agents.map((agent) => new Option(agent.name, agent.name)));
  $("note").textContent = agents.length ? "" : "No worker has registered an agent yet; reload in a moment.";
}

function show(run, text) {
  const card = element("article", "run");
  const parts = {
    head: element("p", "head", `${run.session_id} · ${run.agent} · ${run.id}`),
    question: element("p", "question", text),
    answer: element("p", "answer"),
    approvals: element("div", "approvals"),
    story: element("p", "story"),
  };
  card.append(...Object.values(parts));
  $("runs").prepend(card);
  return parts;
}

function follow(run, parts) {
  const path = `v1/runs/${encodeURIComponent(run.id)}`;
  const events = new EventSource(`${path}/events`);
  const told = (text) => parts.story.append(parts.story.textContent ? ` → ${text}` : text);
  const on = (type, act) => events.addEventListener(type, (event) => act(JSON.parse(event.data)));
  on("delta.text", (event) => parts.answer.append(event.data.text));
  on("gap", (event) => told(`${event.data.missed} pieces missed`));
  DURABLE.forEach((type) => on(type, () => told(type)));
  on("turn.restarted", () => parts.answer.replaceChildren());
  for (const type of ["approval.requested", "approval.decided"]) {
    on(type, async () => ask(await call("GET", path), parts));
  }
  ENDS.forEach((type) => on(type, async () => {
    events.close();
    told(type);
    const ended = await call("GET", path);
    parts.approvals.replaceChildren();
    const output = typeof ended.output === "string" ? ended.output : JSON.stringify(ended.output);
    parts.answer.textContent = ended.error ? `${ended.error.code}: ${ended.error.message}` : output;
  }));
}

function ask(run, parts) {
  parts.approvals.replaceChildren(...run.approvals.map((approval) => {
    const question = element("div", "approval");
    question.append(element("code", "", `${approval.tool}(${JSON.stringify(approval.arguments)})`));
    const decisions = approval.reason === "in_doubt" ? ["not_happened", "abort"] : ["approve", "reject"];
    for (const decision of decisions) {
      const button = element("button", decision, decision);
      button.type = "button";
      button.onclick = () => decide(approval, decision);
      question.append(button);
    }
    return question;
  }));
}

async function decide(approval, decision) {
  try {
    await call("POST", `v1/approvals/${encodeURIComponent(approval.id)}/decide`, { decision });
  } catch (error) {
    $("note").textContent = error.message;
  }
}

$("ask").onsubmit = async (event) => {
  event.preventDefault();
  const text = $("text").value;
  const body = { session_id: $("session").value, agent: $("agent").value, input: text, stream: true };
  $("send").disabled = true;
  try {
    const run = await call("POST", "v1/runs", body, { "Idempotency-Key": crypto.randomUUID() });
    $("text").value = "";
    $("note").textContent = "";
    follow(run, show(run, text));
  } catch (error) {
    $("note").textContent = error.message;
  } finally {
    $("send").disabled = false;
  }
};

listAgents().catch((error) => { $("note").textContent = error.message; });
