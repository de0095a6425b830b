import { add, call } from "./call.js";

const list = document.getElementById("waiting");
const note = document.getElementById("note");

async function look() {
  const waiting = await call("approvals");
  list.replaceChildren();
  for (const one of waiting) {
    const line = add(list, "li", `${one.tool}(${JSON.stringify(one.arguments)}) `);
    for (const decision of ["approve", "reject"]) {
      add(line, "button", decision).addEventListener("click", () => tried(async () => {
        await call(`approvals/${encodeURIComponent(one.id)}`, { decision });
        await look();
      }));
    }
  }
}

async function tried(act) {
  try {
    await act();
    note.textContent = "";
  } catch (error) {
    note.textContent = error.message;
  }
}

document.getElementById("again").addEventListener("click", () => tried(look));
tried(look);
