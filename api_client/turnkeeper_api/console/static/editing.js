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
      if (isTouched()) $("json").value = textOfForm();
    } catch (error) {
      fault(error.message);
      return;
    }
  } else if (!toForm()) return;
  $("as-form").hidden = wantsJson;
  $("as-json").hidden = !wantsJson;
  for (const one of document.querySelectorAll("[data-tab]")) one.ariaPressed = String(one === button);
}

// As text, never as numbers of this language: those would round what has many digits.
function textOfForm() {
  const members = [];
  for (const field of $("as-form").querySelectorAll(".field")) {
    const value = "touched" in field.dataset ? textOf(field) : field.dataset.raw;
    if (value !== "") members.push(`  ${JSON.stringify(field.dataset.name)}: ${value}`);
  }
  return members.length ? `{\n${members.join(",\n")}\n}` : "{}";
}

function textOf(field) {
  const text = field.querySelector("input, select, textarea").value;
  const { kind, name, nullable } = field.dataset;
  if (kind === "text" || kind === "lines") return JSON.stringify(text);
  const bare = text.trim();
  if (bare === "") {
    if (nullable) return "null";
    throw new Error(`${name}: say something.`);
  }
  const isNumber = kind === "integer" ? /^-?(0|[1-9]\d*)$/ : /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;
  if (kind === "integer" || kind === "number") {
    // exactly as JSON writes them, so that 1,5 is not taken for 1
    if (!isNumber.test(bare)) throw new Error(`${name}: this is no ${kind === "integer" ? "whole " : ""}number.`);
    return bare;
  }
  try {
    JSON.parse(bare);
  } catch {
    throw new Error(`${name}: this is no JSON.`);
  }
  return bare;
}

const isTouched = () => $("as-form").querySelector("[data-touched]") !== null;

function toForm() {
  if ($("json").value === base) return true;
  if (/\d{16}/.test($("json").value)) {
    fault("A number here has too many digits for the form; edit it as JSON.");
    return false;
  }
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

// The text of the edited arguments, null when they are as the model gave them.
export function argumentsOf() {
  if (base === null || !$("edit")) return null;
  if (isJson()) return $("json").value === base ? null : checked($("json").value);
  return isTouched() ? textOfForm() : null;
}

function checked(text) {
  let value = null;
  try {
    value = JSON.parse(text);
  } catch {
    // said below
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw new Error("The arguments are no JSON object.");
  }
  return text;
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
    const text = isJson() ? $("json").value : textOfForm();
    const html = await post(`${prefix}/approvals/${encodeURIComponent(id)}/diff`, { arguments: text });
    const found = new DOMParser().parseFromString(html, "text/html");
    if (mine === asked) $("diff").replaceChildren(...found.body.childNodes);
  } catch (error) {
    if (mine === asked) fault(error.message);
  }
}
