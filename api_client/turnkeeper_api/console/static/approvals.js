import { $, ask, banner, onRefresh, post, prefix, refresh } from "./base.js";
import { argumentsOf, watchEdits } from "./editing.js";

const entries = () => [...document.querySelectorAll("#list .entry")];
const picked = () => entries().filter((entry) => entry.querySelector(".pick")?.checked);
const mine = new Set();

async function decide(decisions) {
  for (const one of decisions) mine.add(one.approval_id);
  try {
    const { results } = await post(`${prefix}/approvals/decide`, { decisions });
    const lost = results.filter((one) => !one.ok);
    for (const one of lost) mine.delete(one.approval_id);
    const few = lost.length === 1 ? "was" : "were";
    if (lost.length && results.length === 1) banner(lost[0].told, "warn");
    else if (lost.length) banner(`${lost.length} of ${results.length} ${few} not decided: ${lost[0].told}`, "warn");
    else banner(results.length === 1 ? "Decided." : `${results.length} are decided.`, "good");
  } catch (error) {
    for (const one of decisions) mine.delete(one.approval_id);
    banner(error.message, "bad");
  }
  for (const entry of picked()) entry.querySelector(".pick").checked = false;
  await refresh();
  showPicked();
}

async function decideOne(kind) {
  const form = $("decision");
  const decision = { approval_id: form.dataset.id, decision: kind };
  const note = $("note").value.trim();
  if (note) decision.note = note;
  try {
    if (kind === "approve") {
      const edited = argumentsOf();
      if (edited !== null) decision.arguments_text = edited;
    }
  } catch (error) {
    banner(error.message, "bad");
    return;
  }
  if ($("sticky")?.checked) decision.sticky = true;
  if (kind === "happened") decision.output = $("output").value;
  await decide([decision]);
}

async function rejectWithReason(targets) {
  $("reason").value = $("note")?.value ?? "";
  if (!(await ask($("reject")))) return;
  const note = $("reason").value.trim();
  await decide(targets.map((id) => ({ approval_id: id, decision: "reject", ...(note ? { note } : {}) })));
}

const ids = (found) => found.map((entry) => entry.dataset.id);
const approveAll = (found) => decide(ids(found).map((id) => ({ approval_id: id, decision: "approve" })));

function showPicked() {
  if (!$("all")) return;
  const count = picked().length;
  $("selected").textContent = count ? `${count} selected` : "Select all";
  $("all").checked = count > 0 && count === entries().filter((one) => one.querySelector(".pick:enabled")).length;
  $("approve-selected").disabled = $("reject-selected").disabled = count === 0;
}

document.addEventListener("change", (event) => {
  if (event.target.id === "all") {
    for (const box of document.querySelectorAll("#list .pick:enabled")) box.checked = event.target.checked;
  }
  showPicked();
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.decide) decideOne(button.dataset.decide);
  else if (button.id === "approve-selected") approveAll(picked());
  else if (button.id === "reject-selected") rejectWithReason(ids(picked()));
  else if (button.id === "help-button") $("help").showModal();
});

// keys: the focus moves along the list, so that a screen reader tells what is there
function move(step) {
  const links = entries().map((entry) => entry.querySelector("a"));
  if (!links.length) return;
  const at = links.indexOf(document.activeElement);
  const here = at >= 0 ? at : links.findIndex((link) => link.ariaCurrent === "true");
  links[Math.min(Math.max(here + step, 0), links.length - 1)].focus();
}

function act(kind) {
  const chosen = picked();
  if (chosen.length) return kind === "a" ? approveAll(chosen) : rejectWithReason(ids(chosen));
  const form = $("decision");
  if (!form || form.dataset.reason === "in_doubt") return undefined;
  return kind === "a" ? decideOne("approve") : rejectWithReason([form.dataset.id]);
}

const KEYS = {
  j: () => move(1),
  k: () => move(-1),
  x: () => document.activeElement.closest?.(".entry")?.querySelector(".pick:enabled")?.click(),
  a: () => act("a"),
  r: () => act("r"),
  e: () => {
    if (!$("edit")) return;
    $("edit").open = true;
    $("edit").querySelector("#as-form input, #as-form select, #as-form textarea, #json")?.focus();
  },
  "/": () => $("search").focus(),
  "?": () => $("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && event.target.matches("input, select, textarea")) event.target.blur();
  const isTyping = event.target.matches("input:not([type=checkbox]), select, textarea");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const key = KEYS[event.key];
  if (!key) return;
  event.preventDefault();
  key();
});

onRefresh((fresh, before) => {
  if (fresh.id === "list") showPicked();
  if (fresh.id === "pending") notify(Number(fresh.dataset.pending), Number(before.dataset.pending));
  if (fresh.id !== "detail") return;
  watchEdits();
  const isDecided = before.dataset.status === "pending" && fresh.dataset.status !== "pending";
  if (isDecided && before.dataset.id === fresh.dataset.id && !mine.has(fresh.dataset.id)) {
    banner(`Someone was faster: ${fresh.dataset.decided}`, "warn");
  }
});

function notify(now, before) {
  if (now <= before || !("Notification" in window) || Notification.permission !== "granted") return;
  if (localStorage.getItem("turnkeeper-notify") === "yes") {
    new Notification("Turnkeeper", { body: now === 1 ? "One approval waits." : `${now} approvals wait.` });
  }
}

if ("Notification" in window && Notification.permission !== "denied") {
  const button = $("notify");
  const isOn = () => Notification.permission === "granted" && localStorage.getItem("turnkeeper-notify") === "yes";
  const show = () => { button.textContent = isOn() ? "Notifies you" : "Notify me"; button.ariaPressed = isOn(); };
  button.hidden = false;
  button.addEventListener("click", async () => {
    const wanted = !isOn() && (await Notification.requestPermission()) === "granted";
    localStorage.setItem("turnkeeper-notify", wanted ? "yes" : "no");
    show();
  });
  show();
}
watchEdits();
showPicked();
