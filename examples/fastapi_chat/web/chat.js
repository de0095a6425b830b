import { add, call } from "./call.js";

const talk = document.getElementById("talk");
const field = document.getElementById("text");
const note = document.getElementById("note");

// EventSource comes back by itself after a cut, with the id of the last event that it had.
function follow(runId, answer) {
  const path = `runs/${encodeURIComponent(runId)}`;
  const events = new EventSource(`${path}/events`);
  const on = (type, act) => events.addEventListener(type, (event) => act(JSON.parse(event.data)));
  on("delta.text", (data) => answer.append(data.text));
  on("turn.restarted", () => answer.replaceChildren());
  on("approval.requested", () => { note.textContent = "A colleague has to agree; the answer comes here."; });
  on("approval.decided", () => { note.textContent = ""; });
  for (const type of ["run.completed", "run.failed", "run.cancelled"]) {
    on(type, async () => {
      events.close();
      const ended = await call(path); // pieces can be lost on their way, the answer cannot
      answer.textContent = ended.answer ?? ended.error ?? ended.status;
    });
  }
}

document.getElementById("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const { run_id } = await call("messages", { text: field.value, request_id: crypto.randomUUID() });
    add(talk, "p", `You: ${field.value}`);
    follow(run_id, add(talk, "p", ""));
    field.value = "";
    note.textContent = "";
  } catch (error) {
    note.textContent = error.message;
  }
});
