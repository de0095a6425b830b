// What all pages share: changes with their token, confirmation, live regions, times and banners.
const meta = (name) => document.querySelector(`meta[name="${name}"]`).content;
export const prefix = meta("prefix");
export const $ = (id) => document.getElementById(id);

export async function post(path, body = {}) {
  let answer;
  try {
    answer = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRF-Token": meta("csrf") },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Error("The server cannot be reached; nothing was changed, as far as is known.");
  }
  if (answer.headers.get("content-type")?.startsWith("text/html")) return answer.text();
  const told = await answer.json();
  if (answer.status === 401) location.reload();
  if (!answer.ok) throw new Error(told.detail);
  return told;
}

export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function banner(text, kind = "") {
  const made = document.createElement("p");
  made.className = `banner ${kind}`;
  made.textContent = text;
  const close = document.createElement("button");
  close.type = "button";
  close.className = "quiet close";
  close.textContent = "×";
  close.setAttribute("aria-label", "Close this message");
  close.onclick = () => made.remove();
  made.append(close);
  $("banners").replaceChildren(made);
}

export const clearBanners = () => $("banners").replaceChildren();

export function ask(dialog) {
  return new Promise((resolve) => {
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    dialog.showModal();
  });
}

function confirmed(text) {
  $("confirm-text").textContent = text;
  return ask($("confirm"));
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-post]");
  if (!button) return;
  if (button.dataset.confirm && !(await confirmed(button.dataset.confirm))) return;
  try {
    const told = await post(button.dataset.post, "key" in button.dataset ? { key: newKey() } : {});
    if (button.dataset.then) location.assign(button.dataset.then);
    else if (button.dataset.to) location.assign(`${prefix}/${button.dataset.to}/${encodeURIComponent(told.run_id)}`);
    else {
      if (told.told) banner(told.told, "good");
      await refresh();
    }
  } catch (error) {
    banner(error.message, "bad");
  }
});

// filters go into the address; empty ones are left out
document.addEventListener("submit", (event) => {
  const form = event.target.closest("[data-get]");
  if (!form) return;
  event.preventDefault();
  const wanted = [...new FormData(form)].filter(([, value]) => value !== "");
  location.assign(`${form.dataset.get || location.pathname.replace(/\/apr_[^/]*$/, "")}?${new URLSearchParams(wanted)}`);
});

// Live regions: the page is asked for again, and what differs is put in place of what is there.
const listeners = [];
export const onRefresh = (act) => listeners.push(act);
let asked = null;
let again = false;

export async function refresh() {
  if (asked) {
    again = true;
    return asked;
  }
  asked = refreshOnce().finally(() => { asked = null; });
  await asked;
  if (again) {
    again = false;
    await refresh();
  }
}

async function refreshOnce() {
  let answer;
  try {
    answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  } catch {
    return;
  }
  if (answer.redirected) location.reload();
  if (!answer.ok) return;
  const found = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (document.title !== found.title) document.title = found.title;
  for (const fresh of found.querySelectorAll("[data-live]")) {
    const old = $(fresh.id);
    if (!old) continue;
    const isSame = "version" in fresh.dataset
      ? old.dataset.version === fresh.dataset.version : old.dataset.source === fresh.outerHTML;
    if (isSame) continue;
    const source = fresh.outerHTML;
    keepState(old, fresh);
    const before = old.cloneNode(false);
    old.replaceWith(fresh);
    fresh.dataset.source = source;
    for (const act of listeners) act(fresh, before);
    localTimes(fresh);
  }
  count();
}

function keepState(old, fresh) {
  for (const box of old.querySelectorAll("input[type=checkbox][id]")) {
    const same = fresh.querySelector(`#${CSS.escape(box.id)}`);
    if (same && !same.disabled) same.checked = box.checked;
  }
  const open = [...old.querySelectorAll("details")].map((one) => one.open);
  fresh.querySelectorAll("details").forEach((one, index) => { one.open = open[index] ?? false; });
  // what has streamed in stays until its turn is told
  const streamed = old.querySelector("#stream");
  if (streamed && fresh.querySelector("#stream")) fresh.querySelector("#stream").replaceWith(streamed);
  const focused = document.activeElement;
  if (old.contains(focused)) {
    const href = focused.getAttribute("href");
    queueMicrotask(() => {
      const by = focused.id ? `#${CSS.escape(focused.id)}` : href ? `a[href="${CSS.escape(href)}"]` : null;
      (by && fresh.querySelector(by))?.focus({ preventScroll: true });
    });
  }
}

export function localTimes(root = document) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    const isToday = at.toDateString() === new Date().toDateString();
    const shown = isToday ? { timeStyle: "medium" } : { dateStyle: "medium", timeStyle: "short" };
    time.title = at.toISOString();
    time.textContent = new Intl.DateTimeFormat(undefined, shown).format(at);
  }
}

function count() {
  for (const one of document.querySelectorAll("[data-until]")) {
    const left = Math.max(0, Math.round((new Date(one.dataset.until) - Date.now()) / 1000));
    const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
    let rest = left;
    const words = [];
    for (const [size, unit] of parts) {
      if (rest >= size) words.push(`${Math.floor(rest / size)} ${unit}`);
      rest %= size;
    }
    one.textContent = left ? `expires in ${words.slice(0, 2).join(" ")}` : "time is over";
  }
}

for (const one of document.querySelectorAll("[data-live]")) one.dataset.source = one.outerHTML;
localTimes();
count();
setInterval(count, 1000);
const PAUSE = 2000;
const HIDDEN_PAUSE = 15000;
let looked = Date.now();
if (document.querySelector(".who")) {
  setInterval(() => {
    if (Date.now() - looked < (document.hidden ? HIDDEN_PAUSE : PAUSE)) return;
    looked = Date.now();
    refresh();
  }, PAUSE / 2);
}
document.documentElement.dataset.ready = "yes";
