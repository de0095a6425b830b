// Editing of arguments: as a form made from the tool's schema, or as JSON; the server says what differs.
import { $, post, prefix } from "./base.js";

let base = null;

export function watchEdits() {
  const edit = $("edit");
  base = $("json")?.value ?? null;
  if (!edit) return;
  edit.addEventListener("input", (event) => {
    if (event.target.closest("#as-form")) event.target.closest(".field").dataset.touched = "yes";
    soon();
  });
  for (const button of edit.querySelectorAll("[data-tab]")) button.addEventListener("click", () => show(button));
}

const isJson = () => !$("as-form") || $("as-form").hidden;

function show(button) {
  const wantsJson = button.dataset.tab === "json";
  if (wantsJson === isJson()) return;
  if (wantsJson) {
    try {
      $("json").value = JSON.stringify(fromForm(), null, 2);
    } catch (error) {
      fault(error.message);
      return;
    }
  } else if (!toForm()) return;
  $("as-form").hidden = wantsJson;
  $("as-json").hidden = !wantsJson;
  for (const one of document.querySelectorAll("[data-tab]")) one.ariaPressed = String(one === button);
}

function original() {
  try {
    return JSON.parse(base);
  } catch {
    return {};
  }
}

function fromForm() {
  const made = { ...original() };
  for (const field of $("as-form").querySelectorAll("[data-touched]")) {
    const value = valueOf(field);
    if (value === undefined) delete made[field.dataset.name];
    else Object.defineProperty(made, field.dataset.name, { value, enumerable: true, configurable: true, writable: true });
  }
  return made;
}

function valueOf(field) {
  const text = field.querySelector("input, select, textarea").value;
  const { kind, name, nullable } = field.dataset;
  if (kind === "text" || kind === "lines") return text;
  if (text.trim() === "") {
    if (nullable) return null;
    throw new Error(`${name}: say something.`);
  }
  if (kind === "integer" || kind === "number") {
    // exactly as JSON writes numbers, so that 1,5 is not taken for 1
    if (!/^-?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(text.trim())) throw new Error(`${name}: this is no number.`);
    return Number(text);
  }
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`${name}: this is no JSON.`);
  }
}

function toForm() {
  let given;
  try {
    given = JSON.parse($("json").value);
  } catch {
    fault("This is no JSON object.");
    return false;
  }
  for (const field of $("as-form").querySelectorAll(".field")) {
    const { kind, name } = field.dataset;
    const value = Object.hasOwn(given, name) ? given[name] : null;
    const isText = (kind === "text" || kind === "lines") && typeof value === "string";
    const shown = value === null ? "" : isText ? value : JSON.stringify(value, null, kind === "json" ? 2 : 0);
    const input = field.querySelector("input, select, textarea");
    if (input.value !== shown) {
      input.value = shown;
      field.dataset.touched = "yes";
    }
  }
  return true;
}

// The text of the edited arguments' object, null when they are as the model gave them.
export function argumentsOf() {
  if (base === null || !$("edit")) return null;
  if (isJson()) return $("json").value === base ? null : parsed($("json").value);
  const isTouched = $("as-form").querySelector("[data-touched]");
  if (!isTouched) return null;
  const made = fromForm();
  return JSON.stringify(made) === JSON.stringify(original()) ? null : made;
}

function parsed(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error("The arguments are no JSON object.");
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw new Error("The arguments are no JSON object.");
  }
  return value;
}

function fault(text) {
  const made = document.createElement("p");
  made.className = "fault";
  made.setAttribute("role", "alert");
  made.textContent = text;
  $("diff").replaceChildren(made);
}

let timer = null;
let asked = 0;

function soon() {
  clearTimeout(timer);
  timer = setTimeout(compare, 150);
}

async function compare() {
  const mine = ++asked;
  const id = $("decision").dataset.id;
  try {
    const text = isJson() ? $("json").value : JSON.stringify(fromForm());
    const html = await post(`${prefix}/approvals/${encodeURIComponent(id)}/diff`, { arguments: text });
    const found = new DOMParser().parseFromString(html, "text/html");
    if (mine === asked) $("diff").replaceChildren(...found.body.childNodes);
  } catch (error) {
    if (mine === asked) fault(error.message);
  }
}
