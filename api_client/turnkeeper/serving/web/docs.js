"use strict";

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function resolved(openapi, schema) {
  if (!schema || !schema.$ref) return schema;
  return schema.$ref.slice(2).split("/").reduce((inner, name) => inner[name], openapi);
}

function kind(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.anyOf) return schema.anyOf.map(kind).join(" | ");
  if (schema.type === "array") return `${kind(schema.items)}[]`;
  return schema.type || "any";
}

function table(rows) {
  const made = element("table");
  for (const cells of rows) {
    const row = made.insertRow();
    for (const cell of cells) row.insertCell().textContent = cell;
  }
  return made;
}

function fields(openapi, schema) {
  const properties = Object.entries(resolved(openapi, schema)?.properties || {});
  return table(properties.map(([name, one]) => [name, kind(one), one.description || ""]));
}

function answers(openapi, operation) {
  const made = element("div");
  for (const [status, answer] of Object.entries(operation.responses)) {
    const more = element("details");
    more.append(element("summary", "", `${status} ${answer.description}`));
    for (const [media, content] of Object.entries(answer.content || {})) {
      more.append(element("p", "", media), fields(openapi, content.schema));
      if (content.example) more.append(element("pre", "", content.example));
      for (const example of Object.values(content.examples || {})) {
        more.append(element("pre", "", JSON.stringify(example.value, null, 2)));
      }
    }
    made.append(more);
  }
  return made;
}

function section(openapi, method, path, operation) {
  const made = element("details", "operation");
  const summary = element("summary");
  summary.append(element("code", "", `${method.toUpperCase()} ${path}`), ` ${operation.summary}`);
  made.append(summary, element("p", "", operation.description));
  const parameters = operation.parameters || [];
  made.append(table(parameters.map((one) => [one.name, one.in, kind(one.schema), one.description || ""])));
  const body = operation.requestBody?.content["application/json"].schema;
  if (body) {
    made.append(element("p", "", `Body: ${kind(body)}`), fields(openapi, body));
    const example = resolved(openapi, body).example;
    if (example) made.append(element("pre", "", JSON.stringify(example, null, 2)));
  }
  made.append(answers(openapi, operation));
  return made;
}

fetch("openapi.json").then((answer) => answer.json()).then((openapi) => {
  for (const [path, operations] of Object.entries(openapi.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      document.getElementById("operations").append(section(openapi, method, path, operation));
    }
  }
});
