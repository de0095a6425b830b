import { $, banner, clearBanners, newKey, onRefresh, post, prefix, refresh } from "./base.js";
import { follow, isFollowing } from "./follow.js";

const form = $("message");
let key = newKey();

async function send(event) {
  event.preventDefault();
  const session = form.dataset.session ?? $("session").value;
  const text = $("text").value;
  const button = form.querySelector("button.main");
  button.disabled = true;
  try {
    const sent = await post(`${prefix}/runs`, { session_id: session, agent: $("agent").value, text, key });
    key = newKey();
    if (form.dataset.session === undefined) {
      location.assign(`${prefix}/sessions/${encodeURIComponent(session)}`);
      return;
    }
    $("text").value = "";
    clearBanners();
    if (!isFollowing()) {
      $("asked").textContent = text;
      $("asked").hidden = false;
      follow(sent.run_id, "0", next);
    }
    await refresh();
  } catch (error) {
    banner(error.message, "bad");
  } finally {
    button.disabled = false;
  }
}

// the conversation holds the message once the run has stored it
onRefresh((fresh) => {
  if (fresh.id === "talk") $("asked").hidden = true;
  if (fresh.id === "side") next();
});

function next() {
  const open = $("side")?.dataset.follow;
  if (open) follow(open, "0", next);
}

document.addEventListener("click", async (event) => {
  const suggested = event.target.closest("[data-suggest]");
  if (suggested) {
    $("text").value = suggested.dataset.suggest;
    $("text").focus();
  }
  const button = event.target.closest("[data-quick]");
  if (!button) return;
  button.disabled = true;
  const decision = { approval_id: button.closest("[data-id]").dataset.id, decision: button.dataset.quick };
  try {
    const { results: [result] } = await post(`${prefix}/approvals/decide`, { decisions: [decision] });
    if (!result.ok) banner(result.told, "warn");
    await refresh();
  } catch (error) {
    banner(error.message, "bad");
  }
});

form?.addEventListener("submit", send);
$("text")?.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
next();
